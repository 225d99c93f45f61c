"""Scores in several resize modes: which are computed again, and their names."""

from __future__ import annotations

from lycoris.metrics import Score
from lycoris.metrics.resize_modes import label_with_mode, metrics_in_mode
from tasks.score import Scores, combine_modes


def scores_named(key: str, *names: str) -> Scores:
    unknown = (None,) * 8
    return Scores(key, [Score(name, 1.0, *unknown, "fidelity", True) for name in names], cached=True)


def test_one_default_mode_changes_nothing() -> None:
    one = scores_named("k", "image_similarity/alter/clip", "vendi/alter/clip")
    assert combine_modes({"resize": one}) is one
    assert metrics_in_mode("resize", ("resize",)) is None
    assert label_with_mode("grumble", "resize", ("resize",)) == "grumble"


def test_scores_that_use_references_are_named_by_mode_and_the_others_occur_once() -> None:
    combined = combine_modes(
        {
            "resize": scores_named("a", "image_similarity/alter/clip", "vendi/alter/clip", "style_loss/style/vgg"),
            "padding": scores_named("b", "image_similarity/alter/clip"),
        }
    )
    assert [score.name for score in combined.records] == [
        "image_similarity/alter/clip-resize", "vendi/alter/clip", "style_loss/style/vgg",
        "image_similarity/alter/clip-padding",
    ]  # fmt: skip
    assert combined.key not in ("a", "b")
    assert combined.cached


def test_a_further_mode_computes_only_the_metrics_it_affects() -> None:
    again = metrics_in_mode("crop", ("resize", "crop"))
    assert again is not None
    assert {"image_similarity", "frechet_distance"} <= set(again)
    assert not {"vendi", "text_similarity", "style_loss", "precision"} & set(again)  # the last is not by default


def test_a_single_mode_that_is_not_the_default_is_named() -> None:
    combined = combine_modes({"crop": scores_named("a", "image_similarity/alter/clip", "vendi/alter/clip")})
    assert [score.name for score in combined.records] == ["image_similarity/alter/clip-crop", "vendi/alter/clip"]
