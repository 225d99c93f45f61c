"""Claims about the search for a front with few trainings, on a made-up grid whose truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from lycoris.analysis.decisions.adaptive_search import Asked, Grid, ask, ordered_units, search
from lycoris.analysis.decisions.pareto import hypervolume
from lycoris.analysis.decisions.samplers import EXPLORERS, explorers
from lycoris.analysis.io.score_table import ROW, Table
from lycoris.analysis.statistics.configurations import describe
from lycoris.analysis.statistics.gaussian_process import most_promising, spread
from lycoris.analysis.statistics.measures import from_name
from lycoris.analysis.statistics.ranking import rank
from lycoris.analysis.statistics.setting_scores import stand
from lycoris.errors import InputError

CONCEPTS = tuple(f"c{place}" for place in range(6))
NAMES = ("image_similarity/trigger/clip", "vendi/trigger/clip", "text_similarity/alter/clip")


def made_up(seed: int = 0, noise: float = 0.1, checkpoints: int = 0) -> tuple[Grid, pd.DataFrame]:
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
                {**dict.fromkeys(ROW, ""), "config": config, "epoch": float(place), "seed": "0", "class": concept,
                 "algorithm": algorithm, "captions": captions, "dim": float(size),
                 **dict(zip(NAMES, merit + hard[concept] - loss + rng.normal(0, noise, len(NAMES)), strict=True))}
            )  # fmt: skip
    units = ordered_units([(concept, "0") for concept in CONCEPTS], seed)
    return Grid(describe(pd.DataFrame(settings)), units), pd.DataFrame(rows)


def table_of(rows: pd.DataFrame) -> Table:
    settings = rows.drop(columns=list(NAMES)).assign(group=rows["class"], aggregate=False)
    return Table(settings, rows[list(NAMES)], {name: from_name(name) for name in NAMES})


class Known:
    """Trainings that are looked up, and what was asked for."""

    def __init__(self, rows: pd.DataFrame, broken: str = ""):
        self.rows, self.broken, self.asked, self.rounds = rows, broken, [], []

    def __call__(self, wanted: list[Asked]) -> tuple[Table | None, set[str]]:
        self.asked += wanted
        self.rounds.append(len(wanted))
        done = {(one.config, one.unit[0]) for one in self.asked if one.config != self.broken}
        kept = [key in done for key in zip(self.rows["config"], self.rows["class"], strict=True)]
        some = self.rows[kept]
        return (table_of(some) if len(some) else None), {one.config for one in wanted if one.config == self.broken}


def test_a_third_of_the_trainings_finds_nearly_the_whole_hypervolume() -> None:
    for seed in range(3):
        grid, rows = made_up(seed)
        whole = rank(table_of(rows))
        truth = dict(zip(whole.arms["config"], stand(whole).points, strict=True))
        progress, ranking = search(grid, Known(rows), budget=grid.trainings // 3, seed=seed)
        assert progress.count <= grid.trainings // 3
        most = max(stand(ranking).counts)
        best = [
            str(name)
            for name, count in zip(ranking.arms["config"], stand(ranking).counts, strict=True)
            if 2 * count >= most
        ]
        share = hypervolume(np.stack([truth[name] for name in best])) / hypervolume(np.stack(list(truth.values())))
        assert share >= 0.95


def test_a_budget_is_kept_and_nothing_is_trained_twice() -> None:
    grid, rows = made_up()
    for budget in (1, 5, 24, 30, 60):
        known = Known(rows)
        progress, _ = search(grid, known, budget=budget, seed=0)
        assert len(known.asked) == progress.count <= budget
        assert len({(one.config, one.unit) for one in known.asked}) == len(known.asked)


def test_every_setting_meets_the_first_concept_before_any_meets_the_second() -> None:
    grid, rows = made_up()
    known = Known(rows)
    search(grid, known, budget=48, seed=0)
    assert {one.unit for one in known.asked[:24]} == {grid.units[0]}
    assert {one.config for one in known.asked[:24]} == set(grid.settings["config"])
    assert known.rounds[0] == 24


def test_what_is_clearly_dominated_is_trained_no_further() -> None:
    grid, rows = made_up(noise=0.01)
    worse = rows["config"] == "lora 2 · none"
    rows.loc[worse, list(NAMES)] = -100.0
    known = Known(rows)
    progress, _ = search(grid, known, budget=grid.trainings, seed=0)
    assert progress.trained["lora 2 · none"] <= 2
    assert progress.count < grid.trainings


def test_a_checkpoint_that_is_clearly_dominated_is_asked_for_no_more() -> None:
    grid, rows = made_up(noise=0.01, checkpoints=1)
    known = Known(rows)
    search(grid, known, budget=grid.trainings, seed=0)
    assert all(not one.dropped for one in known.asked[:24])
    assert all(one.dropped == {1} for one in known.asked[48:])
    assert known.asked[48:]


def test_the_same_state_has_the_same_answer() -> None:
    grid, rows = made_up()
    first, second = Known(rows), Known(rows)
    for known in (first, second):
        search(grid, known, budget=40, seed=3)
    assert first.asked == second.asked
    other = Known(rows)
    search(grid, other, budget=40, seed=4)
    assert other.asked != first.asked


def test_a_setting_that_failed_is_left_out_and_counted() -> None:
    grid, rows = made_up()
    known = Known(rows, broken="loha 4 · all")
    progress, ranking = search(grid, known, budget=72, seed=0)
    assert progress.trained["loha 4 · all"] == 1
    assert "loha 4 · all" not in set(ranking.arms["config"])
    assert search(grid, lambda wanted: (None, {one.config for one in wanted}), budget=24, seed=0)[1] is None


@pytest.mark.parametrize("name", EXPLORERS)
def test_with_fewer_trainings_than_settings_each_goes_to_another_setting(name: str) -> None:
    if name in ("tpe", "nsga2"):
        pytest.importorskip("optuna")
    grid, rows = made_up()
    known = Known(rows)
    progress, _ = search(grid, known, budget=11, seed=0, explorer=explorers(name))
    assert progress.count == len(progress.trained) == 11


def test_an_unknown_explorer_is_told() -> None:
    with pytest.raises(InputError, match="Did you mean `posterior`"):
        explorers("posteriour")


def test_a_posterior_prefers_what_is_like_the_good() -> None:
    grid, _ = made_up()
    settings = grid.settings
    points = {
        row.config: np.full((1, 3), 0.9 if row.algorithm == "lokr" else 0.1)
        for row in settings.itertuples()
        if row.captions == "all"
    }
    rng = np.random.default_rng(0)
    chosen = [settings["algorithm"].iloc[most_promising(settings, points, rng)] for _ in range(5)]
    assert chosen == ["lokr"] * 5


def test_settings_are_spread_far_from_each_other() -> None:
    grid, _ = made_up()
    rng, tried = np.random.default_rng(0), []
    for _ in range(3):
        tried.append(str(grid.settings["config"].iloc[spread(grid.settings, tried, rng)]))
    assert len({name.split()[0] for name in tried}) == 3


def test_every_concept_comes_before_the_second_seed() -> None:
    units = ordered_units(itertools.product(CONCEPTS, "01"), seed=5)
    assert {concept for concept, _ in units[:6]} == set(CONCEPTS)
    assert [seed for _, seed in units] == ["0"] * 6 + ["1"] * 6
    assert units != ordered_units(itertools.product(CONCEPTS, "01"), seed=6)


def test_nothing_is_left_to_ask_when_the_budget_is_used() -> None:
    grid, rows = made_up()
    progress, ranking = search(grid, Known(rows), budget=24, seed=0)
    assert ask(grid, progress, stand(ranking), budget=24, seed=0) == []
