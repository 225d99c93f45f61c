"""Intervals: what they cover, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lycoris.metrics import METRICS
from lycoris.metrics.diversity import mean_pairwise_distance, vendi
from lycoris.metrics.fidelity import image_similarity
from lycoris.metrics.functional import functional
from lycoris.metrics.intervals import BLOCKS, Estimate, difference_interval, estimate, interval


@functional
def mean(drawings: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weights @ drawings[:, 0]


def column(values) -> np.ndarray:
    return np.asarray(values, dtype=float)[:, None]


def test_the_influence_on_a_mean_is_the_drawings_own_deviation() -> None:
    values = np.random.default_rng(0).normal(size=12)
    result = estimate(mean, [column(values)])
    assert result.value == pytest.approx(values.mean())
    np.testing.assert_allclose(result.influence, values - values.mean(), atol=1e-12)


def test_the_interval_of_a_large_mean_is_the_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).exponential(size=200)
    low, high = interval(estimate(mean, [column(values)]), resamples=20_000)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    width = high - low
    assert low == pytest.approx(expected.confidence_interval.low, abs=0.04 * width)
    assert high == pytest.approx(expected.confidence_interval.high, abs=0.04 * width)


@pytest.mark.parametrize("count", [5, 10, 40])
def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says(count: int) -> None:
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        low, high = interval(estimate(mean, [column(generator.normal(size=count))]))
        inside += low <= 0 <= high
    assert 0.91 <= inside / 400 <= 0.985


def test_the_interval_of_a_vendi_score_is_not_shifted_by_repeated_drawings() -> None:
    generator = np.random.default_rng(0)
    for _ in range(5):
        drawings = generator.normal(0.5, 1, (30, 20))
        result = estimate(vendi, [drawings])
        low, high = interval(result)
        assert low < result.value < high
        naive = [vendi(drawings[generator.integers(0, 30, 30)]) for _ in range(50)]
        assert np.quantile(naive, 0.9) < result.value


def test_a_paired_difference_is_far_narrower_than_an_unpaired_one() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=40)
    first = estimate(mean, [column(values + 0.1 + 0.01 * generator.normal(size=40))])
    second = estimate(mean, [column(values)])
    paired = difference_interval(first, second, paired=True)
    apart = difference_interval(first, second, paired=False)
    assert paired[0] > 0.05
    assert apart[0] < 0 < apart[1]
    assert paired[1] - paired[0] < 0.1 * (apart[1] - apart[0])


def test_equal_scores_differ_by_exactly_nothing() -> None:
    result = estimate(mean, [column(np.arange(6))])
    assert difference_interval(result, result, paired=True) == (0, 0)


def test_one_seed_gives_one_interval_and_another_seed_another() -> None:
    result = estimate(mean, [column(np.arange(9) ** 2)])
    assert interval(result, seed=1) == interval(result, seed=1) != interval(result, seed=2)


def test_the_interval_does_not_depend_on_the_order_of_calls() -> None:
    result = estimate(mean, [column(np.arange(9) ** 2)])
    expected = interval(result)
    interval(estimate(mean, [column(np.arange(30))]), seed=5)
    assert interval(result) == expected


def test_a_single_drawing_has_a_value_and_a_reason_for_no_interval() -> None:
    result = estimate(mean, [column([3.0])])
    assert result.value == 3
    assert result.influence is None
    assert "2 drawings" in result.note
    assert interval(result) is None
    assert difference_interval(result, result, paired=True) is None


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_nothing_is_ever_nan_for_few_drawings(name: str, count: int) -> None:
    metric = METRICS[name]
    generator = np.random.default_rng(count)
    sizes = [5 if need == "references" else count for need in (*metric.needs, "drawings")]
    arrays = [generator.normal(size=(size, 6)) for size in sizes]
    if metric.sees in ("tags", "rating"):
        arrays = [(array > 0).astype(float) for array in arrays]
    result = estimate(metric.function, arrays, least=metric.least)
    ends = interval(result)
    assert (result.value is None) == (count < metric.least)
    assert (ends is None) == (count <= metric.least)
    assert bool(result.note) == (ends is None)
    if ends is not None:
        assert np.isfinite([result.value, *ends]).all()
        assert ends[0] <= result.value <= ends[1]


def test_situations_are_scored_apart_and_resampled_whole() -> None:
    drawings = np.concatenate([np.eye(4), np.tile(np.eye(4)[:1], (4, 1)), np.eye(4)[[0, 0, 1, 1]]])
    groups = np.repeat([7, 3, 5], 4)
    result = estimate(vendi, [drawings], groups=groups)
    assert result.value == pytest.approx((4 + 1 + 2) / 3)
    assert sorted(result.influence + result.value) == pytest.approx([1, 2, 4])
    low, high = interval(result)
    assert low == pytest.approx(1)
    assert high == pytest.approx(4)


def test_a_situation_that_is_too_small_is_a_reason_and_not_a_number() -> None:
    drawings = np.random.default_rng(0).normal(size=(5, 3))
    result = estimate(mean_pairwise_distance, [drawings], least=2, groups=np.array([0, 0, 1, 1, 2]))
    assert result.value is None
    assert "each situation" in result.note


def test_nothing_to_count_is_a_reason_and_not_a_number() -> None:
    zeros = np.zeros((4, 3))
    result = estimate(METRICS["attribute_precision"].function, [np.ones((4, 3)), zeros])
    assert result == Estimate(None, None, result.note) or result.value is None
    assert "nothing" in result.note
    found = zeros.copy()
    found[0, 0] = 1
    result = estimate(METRICS["attribute_precision"].function, [np.ones((4, 3)), found])
    assert result.value == 1
    assert "single drawing" in result.note


def test_many_drawings_are_left_out_in_blocks_with_the_same_interval() -> None:
    generator = np.random.default_rng(0)
    references, drawings = generator.normal(0.5, 1, (9, 8)), generator.normal(0.5, 1, (3000, 8))
    result = estimate(image_similarity, [references, drawings])
    assert len(result.influence) == BLOCKS
    low, high = interval(result)
    unit = drawings / np.linalg.norm(drawings, axis=1, keepdims=True)
    centre = (references / np.linalg.norm(references, axis=1, keepdims=True)).mean(0)
    error = (unit @ centre).std() / 3000**0.5
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
