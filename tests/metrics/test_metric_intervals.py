"""Intervals: what they cover, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lycoris.metrics import METRICS
from lycoris.metrics.diversity import mean_pairwise_distance, vendi
from lycoris.metrics.fidelity import cmmd, image_similarity
from lycoris.metrics.intervals import BLOCK_COUNT, Estimate, confidence_interval, difference_interval, estimate_metric
from lycoris.metrics.weighted import weighted_metric


@weighted_metric
def mean(drawings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weights @ drawings[:, 0]


def column(values) -> np.ndarray:
    return np.asarray(values, dtype=float)[:, None]


def test_the_influence_on_a_mean_is_the_drawings_own_deviation() -> None:
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
"""What 1,000 intervals of 95 % hold the truth in, three standard errors around it."""


def covered(ends, truth: float) -> float:
    """How often intervals hold the truth; each call of `ends` draws one anew."""
    inside = 0
    for _ in range(TRIALS):
        low, high = ends()
        inside += low <= truth <= high
    return inside / TRIALS


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7])
def test_the_interval_of_a_few_is_students(count: int) -> None:
    values = np.random.default_rng(count).normal(3, 2, count)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert confidence_interval(estimate_metric(mean, [column(values)])) == pytest.approx(tuple(expected))
    other = np.random.default_rng(9).normal(3, 1, 6)
    expected = stats.ttest_ind(values, other, equal_var=False).confidence_interval(0.95)
    both = estimate_metric(mean, [column(values)]), estimate_metric(mean, [column(other)])
    assert difference_interval(*both, paired=False) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 10, 40])
def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says(count: int) -> None:
    generator = np.random.default_rng(count)
    found = covered(lambda: confidence_interval(estimate_metric(mean, [column(generator.normal(size=count))])), 0)
    assert COVERED[0] <= found <= COVERED[1] + 0.01


@pytest.mark.parametrize("count", [3, 5, 12])
def test_the_interval_of_a_paired_difference_covers_the_truth_as_often_as_it_says(count: int) -> None:
    generator = np.random.default_rng(count)

    def ends():
        shared = generator.normal(size=count)
        first, second = (estimate_metric(mean, [column(shared + generator.normal(m, 0.3, count))]) for m in (0.2, 0))
        return difference_interval(first, second, paired=True)

    assert COVERED[0] <= covered(ends, 0.2) <= COVERED[1] + 0.01


@pytest.mark.parametrize(("own", "other"), [(3, 3), (3, 9), (12, 12)])
def test_the_interval_of_an_unpaired_difference_covers_the_truth_at_least_as_often(own: int, other: int) -> None:
    generator = np.random.default_rng(own)

    def ends():
        first, second = (estimate_metric(mean, [column(generator.normal(size=count))]) for count in (own, other))
        return difference_interval(first, second, paired=False)

    assert COVERED[0] <= covered(ends, 0) <= 1


@pytest.mark.parametrize("rule", [vendi, cmmd])
@pytest.mark.parametrize("count", [4, 6, 12])
def test_the_interval_of_a_bent_score_covers_its_mean_nearly_as_often(rule, count: int) -> None:
    generator = np.random.default_rng(count)
    references = generator.normal(0.5, 1, (20, 10))

    def drawn():
        drawings = generator.normal(0.5, 1, (count, 10))
        return [drawings] if rule is vendi else [references, drawings]

    truth = float(np.mean([rule(*drawn()) for _ in range(TRIALS)]))
    assert covered(lambda: confidence_interval(estimate_metric(rule, drawn())), truth) >= (0.9 if count > 4 else 0.85)


def test_the_interval_of_a_vendi_score_is_not_shifted_by_repeated_drawings() -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        drawings = generator.normal(0.5, 1, (30, 20))
        result = estimate_metric(vendi, [drawings])
        low, high = confidence_interval(result)
        assert low < result.value < high
        naive = [vendi(drawings[generator.integers(0, 30, 30)]) for _ in range(50)]
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


def test_equal_scores_differ_by_exactly_nothing() -> None:
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


def test_a_single_drawing_has_a_value_and_a_reason_for_no_interval() -> None:
    result = estimate_metric(mean, [column([3.0])])
    assert result.value == 3
    assert result.influence is None
    assert "2 images" in result.note
    assert confidence_interval(result) is None
    assert difference_interval(result, result, paired=True) is None


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_nothing_is_ever_nan_for_few_drawings(name: str, count: int) -> None:
    metric = METRICS[name]
    generator = np.random.default_rng(count)
    sizes = [5 if need == "references" else count for need in (*metric.inputs, "generated")]
    arrays = [generator.normal(size=(size, 6)) for size in sizes]
    if metric.feature_kind in ("tags", "prediction"):
        arrays = [(array > 0).astype(float) for array in arrays]
    result = estimate_metric(metric.function, arrays, min_images=metric.min_images)
    ends = confidence_interval(result)
    assert (result.value is None) == (count < metric.min_images)
    assert (ends is None) == (count <= metric.min_images or (name.startswith("vendi") and count == 2))
    assert bool(result.note) == (ends is None)
    if ends is not None:
        assert np.isfinite([result.value, *ends]).all()
        assert ends[0] <= result.value <= ends[1]


def test_a_score_that_every_drawing_moves_alike_has_no_interval() -> None:
    result = estimate_metric(vendi, [np.eye(3)])
    assert result.value == pytest.approx(3)
    assert confidence_interval(result) is None
    assert "same influence" in result.note
    repeated = estimate_metric(vendi, [np.ones((3, 4))])
    assert confidence_interval(repeated) == pytest.approx((1, 1))


def test_situations_are_scored_apart_and_resampled_whole() -> None:
    drawings = np.concatenate([np.eye(4), np.tile(np.eye(4)[:1], (4, 1)), np.eye(4)[[0, 0, 1, 1]]])
    groups = np.repeat([7, 3, 5], 4)
    result = estimate_metric(vendi, [drawings], groups=groups)
    assert result.value == pytest.approx((4 + 1 + 2) / 3)
    assert sorted(result.influence + result.value) == pytest.approx([1, 2, 4])
    expected = stats.ttest_1samp([1, 2, 4], 0).confidence_interval(0.95)
    assert confidence_interval(result) == pytest.approx(tuple(expected))


def test_a_situation_that_is_too_small_is_a_reason_and_not_a_number() -> None:
    drawings = np.random.default_rng(0).normal(size=(5, 3))
    result = estimate_metric(mean_pairwise_distance, [drawings], min_images=2, groups=np.array([0, 0, 1, 1, 2]))
    assert result.value is None
    assert "each situation" in result.note


def test_nothing_to_count_is_a_reason_and_not_a_number() -> None:
    zeros = np.zeros((4, 3))
    result = estimate_metric(METRICS["attribute_precision"].function, [np.ones((4, 3)), zeros])
    assert result == Estimate(None, None, result.note) or result.value is None
    assert "nothing" in result.note
    found = zeros.copy()
    found[0, 0] = 1
    result = estimate_metric(METRICS["attribute_precision"].function, [np.ones((4, 3)), found])
    assert result.value == 1
    assert "single image" in result.note


def test_many_drawings_are_left_out_in_blocks_with_the_same_interval() -> None:
    generator = np.random.default_rng(0)
    references, drawings = generator.normal(0.5, 1, (9, 8)), generator.normal(0.5, 1, (3000, 8))
    result = estimate_metric(image_similarity, [references, drawings])
    assert len(result.influence) == BLOCK_COUNT
    low, high = confidence_interval(result)
    unit = drawings / np.linalg.norm(drawings, axis=1, keepdims=True)
    centre = (references / np.linalg.norm(references, axis=1, keepdims=True)).mean(0)
    error = (unit @ centre).std() / 3000**0.5
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
