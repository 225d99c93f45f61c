"""The adaptive search, replayed on a finished grid: trainings are looked up in its table instead of done.

    python benchmarks/adaptive.py runs/grid [--budget N] [--seeds 0,1,2] [--configs FILE] [--explorers posterior,...]
    python benchmarks/adaptive.py shared/paper/metrics_mean.csv --configs shared/paper/config_mapping.csv

The share is the hypervolume of the settings that the search gives a chance to be on the front,
at the ranks that the *whole* grid gives its settings,
over the hypervolume of the whole grid's front; once above rank 0, once above the grid's worst in each dimension. Regret
is how much lower the whole grid ranks the recommended choice than the best setting. Beside it, with the same budget:
settings at random, each trained on everything, and single trainings at random.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from flows.studies.recommend import SCORES_FILE
from lycoris.analysis.decisions.adaptive_search import Grid, Trial, checkpoint_offsets, search, shuffled_units
from lycoris.analysis.decisions.pareto import hypervolume
from lycoris.analysis.decisions.recommendation import RankedSetting, recommend
from lycoris.analysis.io.reading import read_table
from lycoris.analysis.io.score_table import ScoreTable
from lycoris.analysis.statistics.ranking import Ranking, rank_table
from lycoris.analysis.statistics.setting_scores import score_settings

Strategy = Callable[["GridLookup", int, int], Ranking | None]


class GridLookup:
    """A finished grid in which trainings are looked up."""

    def __init__(self, table: ScoreTable):
        kept = ~table.rows["aggregate"]
        self.table = ScoreTable(table.rows[kept], table.scores[kept], table.measures)
        self.rows = self.table.rows
        whole = rank_table(self.table)
        standing = score_settings(whole)
        self.points = standing.points
        self.mean_ranks = np.nanmean(self.points, axis=1)
        self.setting_rows = {
            (str(row.config), str(row.epoch)): place for place, row in enumerate(whole.settings.itertuples())
        }
        places = {arm: place for arm, place in zip(self.setting_rows, checkpoint_offsets(whole.settings), strict=True)}
        self.checkpoint_offset = pd.Series(
            [
                places[config, str(epoch)][1]
                for config, epoch in zip(self.rows["config"], self.rows["epoch"], strict=True)
            ],
            index=self.rows.index,
        )
        self.settings = whole.settings.drop_duplicates("config", keep="last").reset_index(drop=True)
        if whole.settings["config"].duplicated().any():  # checkpoints are no attribute of a setting
            self.settings = self.settings.drop(columns="epoch")
        self.units = [
            (str(group), str(seed)) for group, seed in self.rows[["group", "seed"]].drop_duplicates().to_numpy()
        ]

    def grid(self, seed: int) -> Grid:
        return Grid(self.settings, shuffled_units(self.units, seed))

    def scores_of(self, trials: Sequence[Trial]) -> ScoreTable:
        """The scores of some trainings."""
        wanted = {(one.config, *one.unit): one.dropped_checkpoints for one in trials}
        keys = zip(
            self.rows["config"], self.rows["group"], self.rows["seed"].astype(str), self.checkpoint_offset, strict=True
        )
        mask = [place not in wanted.get((config, group, seed), {place}) for config, group, seed, place in keys]
        return ScoreTable(self.rows[mask], self.table.scores[mask], self.table.measures)

    def hypervolume_share(self, arms: Sequence[int], reference: np.ndarray | float) -> float:
        return hypervolume(self.points[list(arms)], reference) / hypervolume(self.points, reference)


def adaptive_strategy(sampler: str) -> Strategy:
    from lycoris.analysis.decisions.samplers import get_sampler

    def run(found: GridLookup, budget: int, seed: int) -> Ranking | None:
        every: list[Trial] = []

        def train(asked: list[Trial]) -> tuple[ScoreTable, set[str]]:
            every.extend(asked)
            return found.scores_of(every), set()

        progress, ranking = search(found.grid(seed), train, budget=budget, seed=seed, sampler=get_sampler(sampler))
        assert progress.count <= budget
        return ranking

    return run


def random_settings(found: GridLookup, budget: int, seed: int) -> Ranking:
    grid = found.grid(seed)
    order = np.random.default_rng(seed).permutation(len(grid.settings))
    cells = [Trial(str(grid.settings["config"].iloc[row]), unit) for row in order for unit in grid.units]
    return rank_table(found.scores_of(cells[:budget]))


def random_trainings(found: GridLookup, budget: int, seed: int) -> Ranking:
    grid = found.grid(seed)
    cells = [Trial(str(name), unit) for name in grid.settings["config"] for unit in grid.units]
    order = np.random.default_rng(seed).permutation(len(cells))[:budget]
    return rank_table(found.scores_of([cells[place] for place in order]))


def _setting_key(setting: RankedSetting) -> tuple[str, str]:
    return setting.config, str(setting.settings.get("epoch", float("nan")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, or a table of scores")
    parser.add_argument("--configs", type=Path)
    parser.add_argument("--budget", type=int, help="trainings; default: a third of the grid's")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--explorers", default="posterior", help="see lycoris.analysis.decisions.samplers")
    parser.add_argument("--table-seeds", help="keep these training seeds of the table only")
    arguments = parser.parse_args()

    table = read_table(
        arguments.study / SCORES_FILE if arguments.study.is_dir() else arguments.study, arguments.configs
    )
    if arguments.table_seeds:
        kept = table.rows["seed"].astype(str).isin(arguments.table_seeds.split(","))
        table = ScoreTable(table.rows[kept], table.scores[kept], table.measures)
    found = GridLookup(table)
    grid = found.grid(0)
    budget = arguments.budget or grid.training_count // 3
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    print(
        f"grid: {len(grid.settings)} settings x {len(grid.units)} concepts and seeds = {grid.training_count} trainings, "  # noqa: E501
        f"{len(found.points)} arms with checkpoints; budget {budget} ({budget / grid.training_count:.0%})"
    )
    strategies: dict[str, Strategy] = {
        f"adaptive, {one}": adaptive_strategy(one) for one in arguments.explorers.split(",")
    }
    strategies |= {"random settings": random_settings, "random trainings": random_trainings}
    worst = found.points.min(axis=0)
    print(f"{'':<24}{'share of hypervolume':>24} {'above worst':>12} {'front':>6} {'regret':>7} {'seconds':>8}")
    for name, strategy in strategies.items():
        rows = []
        for seed in seeds:
            began = time.perf_counter()
            ranking = strategy(found, budget, seed)
            assert ranking is not None
            answer = recommend(ranking)
            arms = [found.setting_rows[_setting_key(one)] for one in answer.likely_front]
            best = found.setting_rows[_setting_key(answer.choice)]
            shares = found.hypervolume_share(arms, 0.0), found.hypervolume_share(arms, worst)
            rows.append(
                (*shares, len(arms), found.mean_ranks.max() - found.mean_ranks[best], time.perf_counter() - began)
            )
            if len(seeds) <= 5:
                print(f"  {name:<22}{f'seed {seed}':>12}{rows[-1][0]:>12.3f} {shares[1]:>12.3f} {len(arms):>6}")
        mean = np.mean(rows, axis=0)
        least = min(row[0] for row in rows)
        reached = np.mean([row[0] >= 0.95 for row in rows])
        print(
            f"{name:<24}{f'{mean[0]:.3f} (least {least:.3f})':>24} {mean[1]:>12.3f} {mean[2]:>6.1f} {mean[3]:>7.3f} "
            f"{mean[4]:>8.1f}   {reached:.0%} of {len(seeds)} seeds reach .95",
            flush=True,
        )


if __name__ == "__main__":
    main()
