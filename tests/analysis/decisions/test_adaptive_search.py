"""Claims about the search for a front with few trainings, on a made-up grid whose truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from lycoris.analysis.decisions.adaptive_search import Grid, Trial, next_trials, search, shuffled_units
from lycoris.analysis.decisions.pareto import hypervolume
from lycoris.analysis.decisions.samplers import SAMPLERS, get_sampler
from lycoris.analysis.io.score_table import ROW_COLUMNS, ScoreTable
from lycoris.analysis.statistics.configurations import complete_settings
from lycoris.analysis.statistics.gaussian_process import expected_hypervolume_argmax, farthest_setting
from lycoris.analysis.statistics.measures import measure_from_name
from lycoris.analysis.statistics.ranking import rank_table
from lycoris.analysis.statistics.setting_scores import score_settings
from lycoris.errors import InputError

CONCEPTS = tuple(f"c{place}" for place in range(6))
NAMES = ("image_similarity/trigger/clip", "vendi/trigger/clip", "text_similarity/alter/clip")


def synthetic_grid(seed: int = 0, noise: float = 0.1, checkpoints: int = 0) -> tuple[Grid, pd.DataFrame]:
    """A grid of 24 settings, and every score of it: effects of algorithm, captions and size add up, with noise."""
    rng = np.random.default_rng(seed)
    axes = (("lora", "loha", "lokr"), ("none", "all"), (2, 4, 8, 16))
    effects = [{level: rng.normal(0, 0.3, len(NAMES)) for level in axis} for axis in axes]
    hard = {concept: rng.normal(0, 1, len(NAMES)) for concept in CONCEPTS}
    settings, rows = [], []
    for algorithm, captions, size in itertools.product(*axes):
        config = f"{algorithm} {size} · {captions}"
        settings.append({"config": config, "algorithm": algorithm, "captions": captions, "dim": float(size)})
        merit = effects[0][algorithm] + effects[1][captions] + effects[2][size]
        for concept, place in itertools.product(CONCEPTS, range(checkpoints + 1)):
            loss = 5.0 * (checkpoints - place)  # of an early checkpoint, in every dimension
            rows.append(
                {**dict.fromkeys(ROW_COLUMNS, ""), "config": config, "epoch": float(place), "seed": "0", "class":
                concept,
                 "algorithm": algorithm, "captions": captions, "dim": float(size),
                 **dict(zip(NAMES, merit + hard[concept] - loss + rng.normal(0, noise, len(NAMES)), strict=True))}
            )  # fmt: skip
    units = shuffled_units([(concept, "0") for concept in CONCEPTS], seed)
    return Grid(complete_settings(pd.DataFrame(settings)), units), pd.DataFrame(rows)


def table_of(rows: pd.DataFrame) -> ScoreTable:
    settings = rows.drop(columns=list(NAMES)).assign(group=rows["class"], aggregate=False)
    return ScoreTable(settings, rows[list(NAMES)], {name: measure_from_name(name) for name in NAMES})


class RecordedTrials:
    """Trainings that are looked up, and what was asked for."""

    def __init__(self, rows: pd.DataFrame, broken: str = ""):
        self.rows, self.broken, self.asked, self.rounds = rows, broken, [], []

    def __call__(self, wanted: list[Trial]) -> tuple[ScoreTable | None, set[str]]:
        self.asked += wanted
        self.rounds.append(len(wanted))
        done = {(one.config, one.unit[0]) for one in self.asked if one.config != self.broken}
        remaining = [key in done for key in zip(self.rows["config"], self.rows["class"], strict=True)]
        some = self.rows[remaining]
        return (table_of(some) if len(some) else None), {one.config for one in wanted if one.config == self.broken}


def test_a_third_of_the_trainings_finds_nearly_the_whole_hypervolume() -> None:
    for seed in range(3):
        grid, rows = synthetic_grid(seed)
        whole = rank_table(table_of(rows))
        truth = dict(zip(whole.settings["config"], score_settings(whole).points, strict=True))
        progress, ranking = search(grid, RecordedTrials(rows), budget=grid.training_count // 3, seed=seed)
        assert progress.count <= grid.training_count // 3
        most = max(score_settings(ranking).counts)
        best = [
            str(name)
            for name, count in zip(ranking.settings["config"], score_settings(ranking).counts, strict=True)
            if 2 * count >= most
        ]
        share = hypervolume(np.stack([truth[name] for name in best])) / hypervolume(np.stack(list(truth.values())))
        assert share >= 0.95


def test_the_budget_is_respected_and_nothing_is_trained_twice() -> None:
    grid, rows = synthetic_grid()
    for budget in (1, 5, 24, 30, 60):
        known = RecordedTrials(rows)
        progress, _ = search(grid, known, budget=budget, seed=0)
        assert len(known.asked) == progress.count <= budget
        assert len({(one.config, one.unit) for one in known.asked}) == len(known.asked)


def test_every_setting_is_trained_on_the_first_concept_before_any_on_the_second() -> None:
    grid, rows = synthetic_grid()
    known = RecordedTrials(rows)
    search(grid, known, budget=48, seed=0)
    assert {one.unit for one in known.asked[:24]} == {grid.units[0]}
    assert {one.config for one in known.asked[:24]} == set(grid.settings["config"])
    assert known.rounds[0] == 24


def test_a_clearly_dominated_setting_is_dropped() -> None:
    grid, rows = synthetic_grid(noise=0.01)
    worse = rows["config"] == "lora 2 · none"
    rows.loc[worse, list(NAMES)] = -100.0
    known = RecordedTrials(rows)
    progress, _ = search(grid, known, budget=grid.training_count, seed=0)
    assert progress.trial_counts["lora 2 · none"] <= 2
    assert progress.count < grid.training_count


def test_a_clearly_dominated_checkpoint_is_dropped() -> None:
    grid, rows = synthetic_grid(noise=0.01, checkpoints=1)
    known = RecordedTrials(rows)
    search(grid, known, budget=grid.training_count, seed=0)
    assert all(not one.dropped_checkpoints for one in known.asked[:24])
    assert all(one.dropped_checkpoints == {1} for one in known.asked[48:])
    assert known.asked[48:]


def test_the_same_state_has_the_same_answer() -> None:
    grid, rows = synthetic_grid()
    first, second = RecordedTrials(rows), RecordedTrials(rows)
    for known in (first, second):
        search(grid, known, budget=40, seed=3)
    assert first.asked == second.asked
    other = RecordedTrials(rows)
    search(grid, other, budget=40, seed=4)
    assert other.asked != first.asked


def test_a_failed_setting_is_left_out_and_counted() -> None:
    grid, rows = synthetic_grid()
    known = RecordedTrials(rows, broken="loha 4 · all")
    progress, ranking = search(grid, known, budget=72, seed=0)
    assert progress.trial_counts["loha 4 · all"] == 1
    assert "loha 4 · all" not in set(ranking.settings["config"])
    assert search(grid, lambda wanted: (None, {one.config for one in wanted}), budget=24, seed=0)[1] is None


@pytest.mark.parametrize("name", SAMPLERS)
def test_with_fewer_trainings_than_settings_each_goes_to_another_setting(name: str) -> None:
    if name in ("tpe", "nsga2"):
        pytest.importorskip("optuna")
    grid, rows = synthetic_grid()
    known = RecordedTrials(rows)
    progress, _ = search(grid, known, budget=11, seed=0, sampler=get_sampler(name))
    assert progress.count == len(progress.trial_counts) == 11


def test_an_unknown_sampler_is_an_error() -> None:
    with pytest.raises(InputError, match="Did you mean `posterior`"):
        get_sampler("posteriour")


def test_the_posterior_prefers_settings_similar_to_good_ones() -> None:
    grid, _ = synthetic_grid()
    settings = grid.settings
    points = {
        row.config: np.full((1, 3), 0.9 if row.algorithm == "lokr" else 0.1)
        for row in settings.itertuples()
        if row.captions == "all"
    }
    rng = np.random.default_rng(0)
    chosen = [settings["algorithm"].iloc[expected_hypervolume_argmax(settings, points, rng)] for _ in range(5)]
    assert chosen == ["lokr"] * 5


def test_settings_are_spread_far_from_each_other() -> None:
    grid, _ = synthetic_grid()
    rng, tried = np.random.default_rng(0), []
    for _ in range(3):
        tried.append(str(grid.settings["config"].iloc[farthest_setting(grid.settings, tried, rng)]))
    assert len({name.split()[0] for name in tried}) == 3


def test_every_concept_comes_before_the_second_seed() -> None:
    units = shuffled_units(itertools.product(CONCEPTS, "01"), seed=5)
    assert {concept for concept, _ in units[:6]} == set(CONCEPTS)
    assert [seed for _, seed in units] == ["0"] * 6 + ["1"] * 6
    assert units != shuffled_units(itertools.product(CONCEPTS, "01"), seed=6)


def test_no_trials_are_left_when_the_budget_is_used() -> None:
    grid, rows = synthetic_grid()
    progress, ranking = search(grid, RecordedTrials(rows), budget=24, seed=0)
    assert next_trials(grid, progress, score_settings(ranking), budget=24, seed=0) == []
