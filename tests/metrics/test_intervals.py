"""Confidence intervals: their coverage, and the scores without one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lycoris.metrics import METRICS, FeatureSet, PromptSpec, compare
from lycoris.metrics.controllability import mean_answer
from lycoris.metrics.diversity import mean_pairwise_distance, vendi
from lycoris.metrics.fidelity import cmmd, image_similarity
from lycoris.metrics.intervals import (
    BLOCK_COUNT,
    UNDEFINED_NOTE,
    Estimate,
    confidence_interval,
    difference_interval,
    estimate_metric,
)
from lycoris.metrics.weighted import weighted_metric


@weighted_metric
def mean(generated: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weights @ generated[:, 0]


def column(values) -> np.ndarray:
    return np.asarray(values, dtype=float)[:, None]


def test_the_influence_on_a_mean_is_the_deviation_of_the_image() -> None:
    values = np.random.default_rng(0).normal(size=12)
    result = estimate_metric(mean, [column(values)])
    assert result.value == pytest.approx(values.mean())
    np.testing.assert_allclose(result.influence, values - values.mean(), atol=1e-12)


def test_the_interval_of_a_large_mean_is_the_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).exponential(size=200)
    low, high = confidence_interval(estimate_metric(mean, [column(values)]), resamples=20_000)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    width = high - low
    assert low == pytest.approx(expected.confidence_interval.low, abs=0.04 * width)
    assert high == pytest.approx(expected.confidence_interval.high, abs=0.04 * width)


TRIALS = 1000
COVERED = (0.93, 0.97)
"""The coverage of 1,000 intervals of 95 %, within three standard errors."""


def covered(ends, truth: float) -> float:
    """The fraction of intervals that hold the true value; each call of `ends` samples a new one."""
    inside = 0
    for _ in range(TRIALS):
        low, high = ends()
        inside += low <= truth <= high
    return inside / TRIALS


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7])
def test_the_interval_of_few_units_is_students(count: int) -> None:
    values = np.random.default_rng(count).normal(3, 2, count)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert confidence_interval(estimate_metric(mean, [column(values)])) == pytest.approx(tuple(expected))
    other = np.random.default_rng(9).normal(3, 1, 6)
    expected = stats.ttest_ind(values, other, equal_var=False).confidence_interval(0.95)
    both = estimate_metric(mean, [column(values)]), estimate_metric(mean, [column(other)])
    assert difference_interval(*both, paired=False) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 10, 40])
def test_the_interval_of_a_mean_has_its_nominal_coverage(count: int) -> None:
    generator = np.random.default_rng(count)
    found = covered(lambda: confidence_interval(estimate_metric(mean, [column(generator.normal(size=count))])), 0)
    assert COVERED[0] <= found <= COVERED[1] + 0.01


@pytest.mark.parametrize("count", [3, 5, 12])
def test_the_interval_of_a_paired_difference_has_its_nominal_coverage(count: int) -> None:
    generator = np.random.default_rng(count)

    def ends():
        shared = generator.normal(size=count)
        first, second = (estimate_metric(mean, [column(shared + generator.normal(m, 0.3, count))]) for m in (0.2, 0))
        return difference_interval(first, second, paired=True)

    assert COVERED[0] <= covered(ends, 0.2) <= COVERED[1] + 0.01


@pytest.mark.parametrize(("own", "other"), [(3, 3), (3, 9), (12, 12)])
def test_the_interval_of_an_unpaired_difference_has_at_least_its_nominal_coverage(own: int, other: int) -> None:
    generator = np.random.default_rng(own)

    def ends():
        first, second = (estimate_metric(mean, [column(generator.normal(size=count))]) for count in (own, other))
        return difference_interval(first, second, paired=False)

    assert COVERED[0] <= covered(ends, 0) <= 1


@pytest.mark.parametrize(("own", "other"), [(3, 9), (9, 3), (7, 8), (30, 4)])
def test_the_interval_of_an_unpaired_difference_is_welchs_if_either_has_few_units(own: int, other: int) -> None:
    first, second = (np.random.default_rng(count).normal(count, 1, count) for count in (own, other))
    ends = difference_interval(
        estimate_metric(mean, [column(first)]), estimate_metric(mean, [column(second)]), paired=False
    )
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert ends == pytest.approx(tuple(expected))


@pytest.mark.parametrize(("own", "other"), [(8, 200), (200, 8)])
def test_the_interval_of_an_unpaired_difference_is_expanded_for_the_smaller_set(own: int, other: int) -> None:
    """The larger set is constant, so the interval has to be that of the smaller one."""
    values = {8: np.random.default_rng(0).normal(size=8), 200: np.zeros(200)}
    first, second = (Estimate(0.0, values[count] - values[count].mean()) for count in (own, other))
    ends = np.array(difference_interval(first, second, paired=False))
    alone = np.array(confidence_interval(Estimate(0.0, values[8] - values[8].mean())))
    assert np.ptp(ends) == pytest.approx(np.ptp(alone), rel=0.12)


@pytest.mark.parametrize("rule", [vendi, cmmd])
@pytest.mark.parametrize("count", [4, 6, 12])
def test_the_interval_of_a_nonlinear_score_has_nearly_its_nominal_coverage(rule, count: int) -> None:
    generator = np.random.default_rng(count)
    references = generator.normal(0.5, 1, (20, 10))

    def drawn():
        generated = generator.normal(0.5, 1, (count, 10))
        return [generated] if rule is vendi else [references, generated]

    truth = float(np.mean([rule(*drawn()) for _ in range(TRIALS)]))
    assert covered(lambda: confidence_interval(estimate_metric(rule, drawn())), truth) >= (0.9 if count > 4 else 0.85)


def sample_features(name: str, generator: np.random.Generator) -> list[np.ndarray]:
    """Random features of 16 images for a measure, beside references and look-alikes that stay the same."""
    fixed = np.random.default_rng(99)
    references, others = fixed.normal(0.5, 1, (16, 6)), fixed.normal(0.3, 1, (20, 6))
    x = generator.normal(0.5, 1, (16, 6))
    if name == "vqa_score":
        asked = generator.integers(0, 4, 16)
        return [np.stack([[generator.random(count).sum() for count in asked], asked], axis=1).astype(float)]
    if name == "face_similarity":
        x[generator.random(16) < 0.3] = 0
    if name == "quality_vendi":
        return [x / np.linalg.norm(x, axis=1, keepdims=True) * generator.uniform(0.2, 0.9, (16, 1))]
    if name == "colour_drift":
        return [x, x + generator.normal(0.3, 0.5, (16, 6))]
    return [references, others, x] if name == "retrieval_precision" else [references, x]


@pytest.mark.parametrize(
    "name",
    ["density", "retrieval_precision", "vqa_score", "copy_rate", "face_similarity", "quality_vendi", "colour_drift"],
)
def test_the_interval_of_a_measure_has_nearly_its_nominal_coverage(name: str) -> None:
    """Bounds of 200 trials within three standard errors of 95 %, and two hundredths for the shape of the measure."""
    generator, rule = np.random.default_rng(3), METRICS[name].function
    truth = float(np.mean([rule(*sample_features(name, generator)) for _ in range(1000)]))
    inside = 0
    for _ in range(200):
        ends = confidence_interval(estimate_metric(rule, sample_features(name, generator)), resamples=400)
        inside += ends[0] <= truth <= ends[1]
    assert 0.88 <= inside / 200 <= 0.995


def test_a_measure_whose_interval_would_be_wrong_has_none() -> None:
    x = np.random.default_rng(0).normal(size=(12, 6))
    prompts = tuple(PromptSpec("a", "a", n) for n in range(12))
    references = FeatureSet({"image/e": np.random.default_rng(1).normal(size=(9, 6))})
    own = {"train": FeatureSet({"image/e": x}, prompts)}
    (score,) = compare(references, own, own, category="toys", metrics=["coverage"])
    assert score.value is not None
    assert (score.low, score.high, score.difference_low, score.verdict) == (None, None, None, None)
    assert "no interval" in score.note


def test_the_interval_of_a_vendi_score_is_not_shifted_by_repeated_images() -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        generated = generator.normal(0.5, 1, (30, 20))
        result = estimate_metric(vendi, [generated])
        low, high = confidence_interval(result)
        assert low < result.value < high
        naive = [vendi(generated[generator.integers(0, 30, 30)]) for _ in range(50)]
        assert np.quantile(naive, 0.9) < result.value


def test_a_paired_difference_is_far_narrower_than_an_unpaired_one() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=40)
    first = estimate_metric(mean, [column(values + 0.1 + 0.01 * generator.normal(size=40))])
    second = estimate_metric(mean, [column(values)])
    paired = difference_interval(first, second, paired=True)
    apart = difference_interval(first, second, paired=False)
    assert paired[0] > 0.05
    assert apart[0] < 0 < apart[1]
    assert paired[1] - paired[0] < 0.1 * (apart[1] - apart[0])


def test_equal_scores_differ_by_exactly_zero() -> None:
    result = estimate_metric(mean, [column(np.arange(6))])
    assert difference_interval(result, result, paired=True) == (0, 0)


def test_one_seed_gives_one_interval_and_another_seed_another() -> None:
    result = estimate_metric(mean, [column(np.arange(9) ** 2)])
    assert (
        confidence_interval(result, seed=1)
        == confidence_interval(result, seed=1)
        != confidence_interval(result, seed=2)
    )


def test_the_interval_does_not_depend_on_the_order_of_calls() -> None:
    result = estimate_metric(mean, [column(np.arange(9) ** 2)])
    expected = confidence_interval(result)
    confidence_interval(estimate_metric(mean, [column(np.arange(30))]), seed=5)
    assert confidence_interval(result) == expected


def test_a_single_image_has_a_value_and_a_reason_for_no_interval() -> None:
    result = estimate_metric(mean, [column([3.0])])
    assert result.value == 3
    assert result.influence is None
    assert "2 images" in result.note
    assert confidence_interval(result) is None
    assert difference_interval(result, result, paired=True) is None


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_nothing_is_nan_for_few_images(name: str, count: int) -> None:
    metric = METRICS[name]
    generator = np.random.default_rng(count)
    sizes = [8 if role in ("references", "look_alikes") else count for role in (*metric.inputs, "generated")]
    arrays = [generator.normal(size=(size, 6)) for size in sizes]
    if metric.feature_kind == "tags" or metric.function is mean_answer:
        arrays = [(array > 0).astype(float) for array in arrays]
        arrays[-1][:, 1] = 1  # a question about each image
    elif metric.feature_kind == "prediction" and not metric.inputs:
        arrays = [abs(array) for array in arrays]
    result = estimate_metric(metric.function, arrays, min_images=metric.min_images)
    ends = confidence_interval(result)
    assert (result.value is None) == (count < metric.min_images)
    assert (ends is None) == (count <= metric.min_images or (name.startswith("vendi") and count == 2))
    assert bool(result.note) == (ends is None)
    if ends is not None:
        assert np.isfinite([result.value, *ends]).all()
        assert ends[0] <= result.value <= ends[1]


def test_a_score_with_equal_influences_has_no_interval() -> None:
    result = estimate_metric(vendi, [np.eye(3)])
    assert result.value == pytest.approx(3)
    assert confidence_interval(result) is None
    assert "same influence" in result.note
    repeated = estimate_metric(vendi, [np.ones((3, 4))])
    assert confidence_interval(repeated) == pytest.approx((1, 1))


def test_situations_are_scored_separately_and_resampled_as_units() -> None:
    generated = np.concatenate([np.eye(4), np.tile(np.eye(4)[:1], (4, 1)), np.eye(4)[[0, 0, 1, 1]]])
    groups = np.repeat([7, 3, 5], 4)
    result = estimate_metric(vendi, [generated], groups=groups)
    assert result.value == pytest.approx((4 + 1 + 2) / 3)
    assert sorted(result.influence + result.value) == pytest.approx([1, 2, 4])
    expected = stats.ttest_1samp([1, 2, 4], 0).confidence_interval(0.95)
    assert confidence_interval(result) == pytest.approx(tuple(expected))


def test_a_situation_that_is_too_small_gives_a_reason_instead_of_a_number() -> None:
    generated = np.random.default_rng(0).normal(size=(5, 3))
    result = estimate_metric(mean_pairwise_distance, [generated], min_images=2, groups=np.array([0, 0, 1, 1, 2]))
    assert result.value is None
    assert "each situation" in result.note


@pytest.mark.parametrize(("units", "is_student"), [(7, True), (8, False)])
def test_seven_units_get_students_interval_and_eight_a_bootstrap(units: int, is_student: bool) -> None:
    influence = np.arange(units) - (units - 1) / 2
    margin = stats.t.ppf(0.975, units - 1) * stats.sem(influence)
    own, constant = Estimate(0.0, influence), Estimate(0.0, np.zeros(units))
    for ends in (confidence_interval(own), difference_interval(own, constant, paired=True)):
        assert (ends == pytest.approx((-margin, margin))) == is_student


def test_nothing_to_count_gives_a_reason_instead_of_a_number() -> None:
    zeros = np.zeros((4, 3))
    result = estimate_metric(METRICS["attribute_precision"].function, [np.ones((4, 3)), zeros])
    assert (result.value, result.influence, result.note) == (None, None, UNDEFINED_NOTE)
    found = zeros.copy()
    found[0, 0] = 1
    result = estimate_metric(METRICS["attribute_precision"].function, [np.ones((4, 3)), found])
    assert result.value == 1
    assert "single image" in result.note


def test_many_images_are_left_out_in_blocks_with_the_same_interval() -> None:
    generator = np.random.default_rng(0)
    references, generated = generator.normal(0.5, 1, (9, 8)), generator.normal(0.5, 1, (3000, 8))
    result = estimate_metric(image_similarity, [references, generated])
    assert len(result.influence) == BLOCK_COUNT
    low, high = confidence_interval(result)
    unit = generated / np.linalg.norm(generated, axis=1, keepdims=True)
    centre = (references / np.linalg.norm(references, axis=1, keepdims=True)).mean(0)
    error = (unit @ centre).std() / 3000**0.5
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
