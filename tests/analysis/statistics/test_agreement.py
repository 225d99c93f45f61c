"""The rank correlation that tells how far a metric is to be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lycoris.analysis.statistics.agreement import mean_rank_correlation, spearman
from lycoris.analysis.statistics.metric_validity import render_validity_table, validate_metrics
from lycoris.errors import InputError


def noise(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count)


def test_spearman_is_scipys_ties_included() -> None:
    first, second = noise(9, 0).round(), noise(9, 1).round()
    expected = stats.spearmanr(first, second).statistic
    assert spearman(first[None], second[None])[0] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(spearman(np.ones((1, 5)), noise(5, 0)[None]))


def test_the_mean_runs_over_concepts_and_prompt_types() -> None:
    sets = [[(noise(8, 0), noise(8, 1)), (noise(8, 2), noise(8, 3))], [(noise(6, 4), noise(6, 5))]]
    expected = np.mean([stats.spearmanr(*pair).statistic for concept in sets for pair in concept])
    value, low, high = mean_rank_correlation(sets)
    assert value == pytest.approx(expected)
    assert low < value < high


def test_agreement_is_one_for_any_increasing_transformation() -> None:
    truth = noise(20, 0)
    assert mean_rank_correlation([[(np.exp(truth), truth)]]) == pytest.approx((1, 1, 1))
    assert mean_rank_correlation([[(-truth, truth)]])[0] == pytest.approx(-1)


def test_more_adapters_make_the_interval_narrower() -> None:
    def width(count: int) -> float:
        truth = noise(count, 0)
        _, low, high = mean_rank_correlation([[(truth + noise(count, 1), truth)]])
        return high - low

    assert width(200) < 0.5 * width(20)


def test_the_interval_covers_the_population_value() -> None:
    population = spearman(*(np.atleast_2d(each) for each in _pair(100_000, 0)))[0]
    inside = 0
    for seed in range(200):
        _, low, high = mean_rank_correlation([[_pair(30, seed + 1)]], resamples=300)
        inside += low <= population <= high
    assert inside / 200 >= 0.88


def _pair(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=count)
    return truth + generator.normal(size=count), truth


def test_a_perfect_metric_has_correlation_one_and_metrics_without_references_have_no_mode() -> None:
    records = [
        {"concept": "a", "adapter": str(n), "kind": kind, "metric": metric, "encoder": "clip", "mode": mode,
         "value": sign * n, "truth": n / 2}
        for n in range(6)
        for kind in ("alter", "trigger")
        for metric, sign in (("image_similarity", 1), ("vendi", -1))
        for mode in ("resize", "crop")
    ]  # fmt: skip
    rows = validate_metrics(records)
    assert {row["metric"]: row["correlation"] for row in rows} == {"image_similarity": 1, "vendi": -1}
    lines = render_validity_table(rows).splitlines()
    assert lines[2].startswith("| `image_similarity` | fidelity | clip | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] |")
    assert lines[3].startswith("| `vendi` | diversity | clip | -1.00 [-1.00, -1.00] | the same |")
    assert lines[-1] == "6 adapters of 1 concepts."


def test_few_adapters_and_ties_give_no_agreement() -> None:
    assert mean_rank_correlation([[(noise(3, 0), noise(3, 1))]]) is None
    assert mean_rank_correlation([[(np.ones(9), noise(9, 1))]]) is None
    assert mean_rank_correlation([]) is None
    with pytest.raises(InputError, match="lengths differ"):
        mean_rank_correlation([[(noise(5, 0), noise(6, 1))]])
