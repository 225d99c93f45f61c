"""Claims about ranks and the choice of a champion."""

import pytest

from lycoris.analysis import dimension_ranks, scaled_ranks, select_champion


def row(adapter, name, value, low=0.1, dimension="fidelity", higher=True):
    return {
        "adapter": adapter,
        "name": name,
        "value": value,
        "difference_low": low,
        "dimension": dimension,
        "higher_is_better": higher,
    }


def test_best_has_rank_one_and_worst_zero():
    assert scaled_ranks([0.2, 0.9, 0.5], higher_is_better=True) == [0.0, 1.0, 0.5]


def test_distances_are_reversed():
    assert scaled_ranks([0.2, 0.9, 0.5], higher_is_better=False) == [1.0, 0.0, 0.5]


def test_equal_values_share_their_rank():
    assert scaled_ranks([1.0, 1.0, 0.0], higher_is_better=True) == [0.75, 0.75, 0.0]


def test_a_missing_value_is_not_ranked():
    assert scaled_ranks([None, 1.0, 0.0], higher_is_better=True) == [None, 1.0, 0.0]


def test_an_adapter_without_a_rival_is_neither_best_nor_worst():
    assert scaled_ranks([3.0], higher_is_better=True) == [0.5]


def test_a_score_of_zero_is_a_score():
    assert scaled_ranks([0.0, -1.0], higher_is_better=True) == [1.0, 0.0]


def test_a_metric_with_more_encoders_weighs_no_more():
    rows = [row(a, f"image_similarity/trigger/{e}", v) for a, v in (("x", 1), ("y", 0)) for e in ("clip", "dinov2")]
    rows += [row(a, "style_loss/train/vgg", v, higher=False) for a, v in (("x", 1), ("y", 0))]
    ranks = dimension_ranks(rows)
    assert ranks.loc["x", "fidelity"] == pytest.approx(0.5)


def test_a_score_that_is_undefined_for_one_adapter_ranks_the_others():
    rows = [row("x", "attribute_recall/train/pocket", None), row("y", "attribute_recall/train/pocket", 0.5)]
    rows += [row(name, "image_similarity/trigger/clip", value) for name, value in (("x", 1.0), ("y", 0.0))]
    ranks = dimension_ranks(rows)
    assert ranks.loc["x", "fidelity"] == 1.0
    assert ranks.loc["y", "fidelity"] == pytest.approx((0.0 + 0.5) / 2)


def test_an_adapter_that_did_not_learn_is_not_champion():
    rows = [
        row("idle", "image_similarity/trigger/clip", 0.5, low=-0.1),
        row("learned", "image_similarity/trigger/clip", 0.4, low=0.2),
        row("idle", "vendi/alter/clip", 9.0, dimension="diversity"),
        row("learned", "vendi/alter/clip", 1.0, dimension="diversity"),
    ]
    choice = select_champion(rows, {"idle": 1, "learned": 1})
    assert choice.adapter == "learned"
    assert choice.beats_base


def test_of_two_equal_adapters_the_smaller_file_wins():
    rows = [row(name, "image_similarity/trigger/clip", 0.5) for name in ("big", "small")]
    choice = select_champion(rows, {"big": 10, "small": 1})
    assert (choice.adapter, choice.runner_up) == ("small", "big")


def test_without_scores_there_is_no_champion():
    assert select_champion([], {}) is None
