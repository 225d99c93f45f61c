"""The recommended strength: its rule on features whose best strength is known."""

from __future__ import annotations

import numpy as np
import pytest

from lycoris.analysis.decisions.strength import choose_strength
from lycoris.errors import InputError
from lycoris.metrics import FeatureSet, PromptSpec

COUNT = 12
SPREAD = 0.05
REFERENCES = FeatureSet({"image/clip": np.tile([1.0, 0.0, 0.0], (5, 1))})
TEXTS = np.tile([0.0, 1.0, 0.0], (COUNT, 1))


def features(fidelity: float, controllability: float, *, spread: float = SPREAD) -> dict[str, FeatureSet]:
    """Images with these cosines with the references and with their prompts, spread alike at every strength."""
    noise = spread * np.random.default_rng(0).standard_normal(COUNT)

    def of(prompt_type: str, axis: int, cosine: float) -> FeatureSet:
        rows = np.zeros((COUNT, 3))
        rows[:, axis] = cosine + noise
        rows[:, 2] = np.sqrt(np.clip(1 - rows[:, axis] ** 2, 0, None))
        prompts = tuple(PromptSpec(f"{prompt_type} {number}", "", number) for number in range(COUNT))
        return FeatureSet({"image/clip": rows, "text/clip": TEXTS}, prompts)

    return {"trigger": of("trigger", 0, fidelity), "alter": of("alter", 1, controllability)}


BASE = features(0.2, 0.6)


def test_the_best_strength_is_where_fidelity_is_gained_and_controllability_not_yet_lost() -> None:
    choice = choose_strength(
        REFERENCES,
        BASE,
        {0.5: features(0.4, 0.6), 0.8: features(0.75, 0.58), 1.0: features(0.8, 0.4), 1.2: features(0.8, 0.2)},
    )
    assert (choice.value, choice.low, choice.high) == (0.8, 0.8, 0.8)
    assert [point.strength for point in choice.points] == [0, 0.5, 0.8, 1, 1.2]
    fidelity = [point.dimensions["fidelity"] for point in choice.points]
    assert fidelity == pytest.approx([0.2, 0.4, 0.75, 0.8, 0.8], abs=SPREAD)
    assert choice.text == "0.8 [0.8, 0.8]"
    assert "fidelity and controllability of 0.5, 0.8, 1 and 1.2, 24 images each" in choice.origin
    assert choice.origin.endswith("1 is worse")


def test_the_scaled_score_can_be_computed_by_hand() -> None:
    choice = choose_strength(REFERENCES, features(0, 0.5, spread=0), {1.0: features(0.5, 0, spread=0)})
    assert [(point.strength, point.score) for point in choice.points] == [(0, 0.5), (1, 0.5)]
    sweep = {0.5: features(0.25, 0.4, spread=0), 1.0: features(0.5, 0, spread=0)}
    choice = choose_strength(REFERENCES, features(0, 0.5, spread=0), sweep)
    assert choice.points[1].score == pytest.approx((0.25 / 0.5 + 0.4 / 0.5) / 2)


def test_strengths_that_do_not_differ_enough_to_matter_leave_it_at_one() -> None:
    sweep = {strength: features(0.6, 0.5) for strength in (0.6, 0.8, 1.0, 1.2)}
    assert choose_strength(REFERENCES, BASE, sweep).value == 1
    base, tiny = features(0.6, 0.5, spread=0), {0.6: features(0.601, 0.5, spread=0), 1.0: features(0.6, 0.5, spread=0)}
    assert choose_strength(REFERENCES, base, tiny).points[1].score == pytest.approx(0.05)  # .001 of .01, of 1 of 2


def test_noise_widens_the_interval() -> None:
    generator = np.random.default_rng(1)

    def noisy(strength: float) -> dict[str, FeatureSet]:
        rows = generator.normal(1, size=(COUNT, 3))
        own = features(strength, 0.5)
        return {kind: FeatureSet({**one.arrays, "image/clip": rows}, one.prompts) for kind, one in own.items()}

    sweep = {strength: noisy(strength) for strength in (0.4, 0.7, 1.0, 1.3)}
    choice = choose_strength(REFERENCES, BASE, sweep)
    assert choice.low < 1 < choice.high
    assert choice.value == 1, "the strength as trained, unless another is better"
    assert choice.best != 1
    assert choice.origin.startswith(f"not separated from {choice.best:g}, which is best, in fidelity")
    without = choose_strength(REFERENCES, BASE, {strength: one for strength, one in sweep.items() if strength != 1})
    assert without.value == without.best
    assert without.low <= without.value <= without.high


def test_one_dimension_suffices_and_none_is_an_error() -> None:
    only = {1.0: {"trigger": features(0.5, 0.5)["trigger"]}, 0.5: {"trigger": features(0.8, 0.5)["trigger"]}}
    choice = choose_strength(REFERENCES, BASE, only)
    assert choice.value == 0.5
    assert list(choice.points[0].dimensions) == ["fidelity"]
    style = {1.0: {"style": features(0.5, 0.5)["trigger"]}}
    with pytest.raises(InputError, match="neither can be scored"):
        choose_strength(REFERENCES, {"style": BASE["trigger"]}, style)
    with pytest.raises(InputError, match="must have a strength"):
        choose_strength(REFERENCES, BASE, {})


def test_the_base_must_have_the_same_prompts() -> None:
    other = FeatureSet(BASE["trigger"].arrays, tuple(PromptSpec("other", "", number) for number in range(COUNT)))
    with pytest.raises(InputError, match="no images of the prompts and seeds of `trigger`"):
        choose_strength(REFERENCES, {**BASE, "trigger": other}, {1.0: features(0.5, 0.5)})
