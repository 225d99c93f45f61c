"""Claims about the rule by which a challenger takes the champion's place."""

import pytest

from lycoris.analysis import PROMOTION_RULE, decide_promotion
from lycoris.errors import InputError
from lycoris.metrics import METRICS
from lycoris.terms import DIMENSIONS, HEADLINE_SCORES


def scores(**ends):
    """The telling score of each dimension in two encoders, given as the interval of its gain."""
    records = []
    for dimension, name in HEADLINE_SCORES.items():
        metric = METRICS[name.split("/")[0]]
        low, high = ends.get(dimension, (-0.1, 0.1))
        if not metric.higher_is_better:
            low, high = -high, -low
        records += [
            {
                "name": f"{name}/{encoder}",
                "difference": (low + high) / 2,
                "difference_low": low,
                "difference_high": high,
                "higher_is_better": metric.higher_is_better,
                "note": "",
            }
            for encoder in ("clip", "dinov2")
        ]
    return records


def test_every_dimension_has_its_score_and_the_rule_names_it():
    assert set(HEADLINE_SCORES) == set(DIMENSIONS)
    for dimension, name in HEADLINE_SCORES.items():
        metric, kind = name.split("/")
        assert METRICS[metric].dimension == dimension
        assert kind in METRICS[metric].prompt_types
        assert name in PROMOTION_RULE


def test_better_in_the_target_and_nowhere_worse_is_promoted():
    decision = decide_promotion(scores(fidelity=(0.01, 0.2)))
    assert decision.promoted
    assert decision.dimensions["fidelity"] == "better"
    assert "image_similarity/trigger/clip" in decision.reason


@pytest.mark.parametrize("ends", [(-0.01, 0.2), (0.0, 0.2), (-0.2, -0.1)])
def test_a_difference_within_the_interval_does_not_promote(ends):
    assert not decide_promotion(scores(fidelity=ends)).promoted


def test_every_encoder_must_agree():
    result = scores(fidelity=(0.01, 0.2))
    result[0]["difference_low"] = -0.01
    assert not decide_promotion(result).promoted


@pytest.mark.parametrize("dimension", sorted(set(HEADLINE_SCORES) - {"fidelity"}))
def test_a_loss_elsewhere_keeps_the_champion_unless_tolerated(dimension):
    result = scores(**{"fidelity": (0.01, 0.2), dimension: (-0.5, -0.3)})
    decision = decide_promotion(result)
    assert not decision.promoted
    assert dimension in decision.reason
    assert decide_promotion(result, tolerances={dimension: 0.3}).promoted
    assert not decide_promotion(result, tolerances={dimension: 0.29}).promoted


def test_the_target_may_be_another_dimension():
    assert decide_promotion(scores(diversity=(0.1, 0.2)), "diversity").promoted
    assert not decide_promotion(scores(diversity=(0.1, 0.2), fidelity=(-0.2, -0.1)), "diversity").promoted


def test_a_dimension_without_scores_does_not_promote():
    assert decide_promotion([]).dimensions["fidelity"] == "not measured"
    assert not decide_promotion([]).promoted
    result = scores(fidelity=(0.01, 0.2))
    result[1] |= {"difference_low": None, "difference_high": None, "difference": None, "note": "needs 2 drawings"}
    assert not decide_promotion(result).promoted


@pytest.mark.parametrize(
    ("goal", "allowed"), [("fidelty", {}), ("fidelity", {"x": 0.1}), ("fidelity", {"quality": -1})]
)
def test_invalid_targets_and_tolerances_are_errors(goal, allowed):
    with pytest.raises(InputError):
        decide_promotion([], goal, allowed)
