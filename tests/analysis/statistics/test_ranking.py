"""Claims about scaled ranks and effects of a whole table, against slow loops that read the files for themselves."""

from __future__ import annotations

import csv
import math
import re
from statistics import mean, stdev

import numpy as np
import pytest
from scipy import stats

from lycoris.analysis.statistics.effects import _paired_t_test_p, comparisons, compute_effects, count_leads
from lycoris.analysis.statistics.group_means import GroupMean, mean_of_known, mean_over_groups
from lycoris.analysis.statistics.ranking import rank_table, summarize_ranks

NAMES = {"in": "train", "out": "alter"}


@pytest.fixture(scope="session")
def ranking(table):
    return rank_table(table)


@pytest.fixture(scope="session")
def found(ranking):
    return compute_effects(ranking)


@pytest.fixture(scope="session")
def slow(files):
    """(configuration, seed, epoch) -> path -> column -> rank, by counting who is worse."""
    with files[0].open() as file:
        rows = list(csv.DictReader(file))
    scores = {}
    for row in rows:
        run, _, path = row.pop("Folder").partition("/")
        config, seed, epoch = re.fullmatch(r".*?(exp-.+?)-([a-c])(?:-(\d+))?", run).groups()
        scores.setdefault(path, {})[config, seed, int(epoch or 50)] = {
            name: float(value) for name, value in row.items()
        }
    ranks = {}
    for path, own in scores.items():
        for column in next(iter(own.values())):
            sign = -1 if column.startswith("Squared Centroid Distance") else 1
            values = {key: sign * entry[column] for key, entry in own.items()}
            for key, value in values.items():
                worse = sum(other < value for other in values.values())
                alike = sum(other == value for other in values.values()) - 1
                place = (worse + alike / 2) / (len(values) - 1)
                ranks.setdefault(key, {}).setdefault(path, {})[column] = place
    return ranks


def measure(column: str) -> str:
    """The name of a published column's measure."""
    parts = re.fullmatch(r"([A-Za-z ]+?)(?: \(([^)]+)\))? \((in|out|trigger)\)", column)
    metric, encoder, prompts = parts.groups()
    name = f"{metric.lower().replace(' ', '_')}/{NAMES.get(prompts, prompts)}"
    return f"{name}/{encoder}" if encoder else name


def leaves(slow) -> list[str]:
    paths = {path for own in slow.values() for path in own}
    return sorted(path for path in paths if path and not any(other.startswith(f"{path}/") for other in paths))


def test_ranks_equal_those_by_counting(ranking, slow):
    recorded = 0
    for row in ranking.rows.to_dict("records"):
        expected = slow[row["config"], row["seed"], int(row["epoch"])][row["group"]]
        for column, value in expected.items():
            assert row[measure(column)] == pytest.approx(value, abs=1e-12)
            recorded += 1
    assert recorded == sum(len(entry) for own in slow.values() for entry in own.values())


def test_means_leave_out_aggregates_of_the_table(ranking, slow):
    assert ranking.groups == leaves(slow)
    assert all(path.count("/") <= 1 for path in ranking.classes)


def test_mean_rank_and_standard_error_are_the_papers(ranking, slow):
    paths = leaves(slow)
    found = summarize_ranks(ranking).to_dict("records")
    single = [row for row in found if row["encoder"] != "all"]
    for row in single[:: max(1, len(single) // 40)]:
        name = "/".join(part for part in (row["metric"], row["prompt_type"], row["encoder"]) if part)
        seeds = []
        for (config, _, epoch), own in slow.items():
            if (config, epoch) == (row["config"], row["epoch"]):
                [column] = [column for column in own[paths[0]] if measure(column) == name]
                seeds.append(mean(own[path][column] for path in paths))
        assert row["rank"] == pytest.approx(mean(seeds), abs=1e-12)
        assert row["standard_error"] == pytest.approx(stdev(seeds) / math.sqrt(len(seeds)), abs=1e-12)
        assert row["low"] <= row["rank"] <= row["high"]


def test_an_effect_is_the_mean_difference_of_matched_configurations(found, slow, files):
    """Loops over configurations, seeds, epochs and groups, for two factors whose match is plain to see."""
    with files[1].open() as file:
        settings = {row["Config"]: row for row in csv.DictReader(file)}
    fixed = {
        "captions": ("Algo", "Preset", "Lr", "Dim", "Alpha", "Factor"),
        "preset": ("Algo", "Caption", "Lr", "Dim", "Alpha", "Factor"),
    }
    named = {"captions": "Caption", "preset": "Preset"}
    strategies = {".txt": "adjusted", ".txtdb": "none", ".txttags": "all"}
    paths = leaves(slow)
    checked = 0
    for row in found.to_dict("records"):
        if row["factor"] not in fixed or row["encoder"] == "all":
            continue
        name = "/".join(part for part in (row["metric"], row["prompt_type"], row["encoder"]) if part)
        [column] = [column for column in next(iter(slow.values()))[paths[0]] if measure(column) == name]
        pairs = []
        epochs = {epoch for _, _, epoch in slow}
        for one in {config for config, _, _ in slow}:
            for other in {config for config, _, _ in slow}:
                levels = [settings[config][named[row["factor"]]] for config in (one, other)]
                levels = [strategies.get(level, level) for level in levels]
                alike = all(settings[one][key] == settings[other][key] for key in fixed[row["factor"]])
                if alike and levels == [row["level"], row["against"]]:
                    pairs += [(one, other, epoch) for epoch in epochs]
        assert len(pairs) == row["pairs"]
        differences = [
            mean(slow[one, seed, epoch][path][column] for seed in seeds_of(slow, one))
            - mean(slow[other, seed, epoch][path][column] for seed in seeds_of(slow, other))
            for one, other, epoch in pairs
            for path in paths
        ]
        assert row["effect"] == pytest.approx(mean(differences), abs=1e-12)
        checked += 1
    assert checked > 5


def seeds_of(slow, config):
    return {seed for name, seed, _ in slow if name == config}


def test_an_effect_is_listed_in_both_directions(found):
    key = ["factor", "metric", "prompt_type", "encoder"]
    there = {
        (*row[:4], row[4], row[5]): row[6:]
        for row in found[[*key, "level", "against", "effect", "low", "high"]].to_numpy()
    }
    assert len(there) == len(found)
    for (*same, level, against), (effect, low, high) in there.items():
        assert there[(*same, against, level)] == pytest.approx((-effect, -high, -low))


def test_intervals_are_about_as_wide_as_students():
    values = np.random.default_rng(1).normal(0.1, 0.2, size=40)
    found = mean_over_groups(values, minimum=-1.0)
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert found.high - found.low == pytest.approx(high - low, rel=0.1)
    assert found.mean == pytest.approx(values.mean())


def test_few_groups_get_students_interval_and_one_gets_none():
    values = np.array([0.1, 0.2, np.nan, 0.15])
    known = values[~np.isnan(values)]
    found = mean_over_groups(values, minimum=-1.0)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 2, known.mean(), stats.sem(known)))
    assert found.groups == 3
    assert mean_over_groups(np.array([0.3]), minimum=-1.0) == GroupMean(0.3, None, None, 1)
    assert mean_over_groups(np.array([np.nan]), minimum=-1.0) is None


@pytest.mark.parametrize(
    ("values", "minimum", "clipped"),
    [
        ([0.90, 1.00, 0.98], -1.0, "high"),
        ([-0.90, -1.00, -0.98], -1.0, "low"),
        ([0.00, 0.10, 0.02], 0.0, "low"),
        ([0.40, 0.60, 0.55], 0.0, ""),
    ],
)
def test_intervals_are_clipped_to_the_range_of_ranks(values, minimum, clipped):
    values = np.array(values)
    ends = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    assert (ends[0] < minimum, ends[1] > 1.0) == (clipped == "low", clipped == "high")
    found = mean_over_groups(values, minimum=minimum)
    assert found.low == (minimum if clipped == "low" else pytest.approx(ends[0]))
    assert found.high == (1.0 if clipped == "high" else pytest.approx(ends[1]))


@pytest.mark.parametrize(("difference", "p"), [(0.0, 1.0), (0.2, 0.0)])
def test_equal_differences_are_certain(difference, p):
    assert _paired_t_test_p(np.full(5, difference)) == p
    assert _paired_t_test_p(np.array([difference, np.nan])) is None


def test_missing_values_do_not_count_in_a_mean():
    values = np.array([[1.0, np.nan, 0.5], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(mean_of_known(values, axis=1), [0.75, np.nan])
    np.testing.assert_array_equal(mean_of_known(values, axis=0), [1.0, np.nan, 0.5])


@pytest.mark.parametrize("ranks", [[1.0] * 9 + [0.9], [0.0] * 9 + [0.1]])
def test_bootstrap_intervals_stay_in_the_range_of_ranks(ranks):
    found = mean_over_groups(np.array(ranks), minimum=0.0)
    assert 0.0 <= found.low <= found.mean <= found.high <= 1.0


def test_correction_is_that_of_benjamini_and_hochberg(found):
    half = found.iloc[: len(found) // 2]  # each comparison once
    p = half["p"].astype(float).to_numpy()
    order = np.argsort(p)
    q, least = np.empty(len(p)), 1.0
    for place in range(len(p) - 1, -1, -1):
        least = min(least, p[order[place]] * len(p) / (place + 1))
        q[order[place]] = least
    np.testing.assert_allclose(half["q"].astype(float), q)


def test_pairs_differ_in_nothing_but_their_factor(ranking):
    arms = ranking.settings
    for one in comparisons(arms):
        for a, b in one.pairs:
            for name in ("preset", "captions", "epoch", "algorithm"):
                if name != one.factor:
                    assert arms[name][a] == arms[name][b]
            if one.factor not in ("capacity", "algorithm"):
                assert arms["capacity"][a] == arms["capacity"][b]
            if one.factor == "algorithm":
                assert arms["capacity_level"][a] == arms["capacity_level"][b]
                if "full" not in (one.level, one.against):
                    assert arms["learning_rate"][a] == arms["learning_rate"][b]


def test_leads_are_counted_from_the_effects(found):
    single = found[(found["factor"] == "algorithm") & (found["encoder"] != "all")]
    for name, row in count_leads(found).iterrows():
        led = 0
        for _, own in single[single["level"] == name].groupby(["metric", "prompt_type", "encoder"]):
            led += all(effect > 0 for effect in own["effect"])
        assert row["led"] == led
        assert row["shown"] <= row["led"] <= row["measures"]
