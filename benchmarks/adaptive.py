"""The adaptive search, replayed on a finished grid: trainings are looked up in its table instead of run.

    python benchmarks/adaptive.py runs/grid [--budget N] [--seeds 0,1,2] [--configs FILE] [--samplers posterior,...]
    python benchmarks/adaptive.py shared/paper/metrics_mean.csv --configs shared/paper/config_mapping.csv

The share of hypervolume compares the settings that the search considers likely to be on the front, at the ranks that
the *whole* grid gives them, with the front of the whole grid; once above rank 0, once above the grid's worst in each
dimension. Regret is how much lower the whole grid ranks the recommended setting than the best one. Two baselines have
the same budget: random settings, each trained on everything, and random single trainings.
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
        rows = ~table.rows["aggregate"]
        self.table = ScoreTable(table.rows[rows], table.scores[rows], table.measures)
        self.rows = self.table.rows
        ranking = rank_table(self.table)
        self.points = score_settings(ranking).points
        self.mean_ranks = np.nanmean(self.points, axis=1)
        self.setting_rows = {
            (str(row.config), str(row.epoch)): index for index, row in enumerate(ranking.settings.itertuples())
        }
        offsets = {
            key: index for key, index in zip(self.setting_rows, checkpoint_offsets(ranking.settings), strict=True)
        }
        self.checkpoint_offset = pd.Series(
            [
                offsets[config, str(epoch)][1]
                for config, epoch in zip(self.rows["config"], self.rows["epoch"], strict=True)
            ],
            index=self.rows.index,
        )
        self.settings = ranking.settings.drop_duplicates("config", keep="last").reset_index(drop=True)
        if ranking.settings["config"].duplicated().any():  # the epoch of a checkpoint is not an attribute of a setting
            self.settings = self.settings.drop(columns="epoch")
        self.units = [
            (str(group), str(seed)) for group, seed in self.rows[["group", "seed"]].drop_duplicates().to_numpy()
        ]

    def grid(self, seed: int) -> Grid:
        return Grid(self.settings, shuffled_units(self.units, seed))

    def scores_of(self, trials: Sequence[Trial]) -> ScoreTable:
        """The scores of some trainings."""
        dropped = {(one.config, *one.unit): one.dropped_checkpoints for one in trials}
        keys = zip(
            self.rows["config"], self.rows["group"], self.rows["seed"].astype(str), self.checkpoint_offset, strict=True
        )
        mask = [index not in dropped.get((config, group, seed), {index}) for config, group, seed, index in keys]
        return ScoreTable(self.rows[mask], self.table.scores[mask], self.table.measures)

    def hypervolume_share(self, settings: Sequence[int], reference: np.ndarray | float) -> float:
        return hypervolume(self.points[list(settings)], reference) / hypervolume(self.points, reference)


def adaptive_strategy(sampler: str) -> Strategy:
    from lycoris.analysis.decisions.samplers import get_sampler

    def run(lookup: GridLookup, budget: int, seed: int) -> Ranking | None:
        done: list[Trial] = []

        def run_trials(trials: list[Trial]) -> tuple[ScoreTable, set[str]]:
            done.extend(trials)
            return lookup.scores_of(done), set()

        progress, ranking = search(
            lookup.grid(seed), run_trials, budget=budget, seed=seed, sampler=get_sampler(sampler)
        )
        assert progress.count <= budget
        return ranking

    return run


def random_settings(lookup: GridLookup, budget: int, seed: int) -> Ranking:
    grid = lookup.grid(seed)
    order = np.random.default_rng(seed).permutation(len(grid.settings))
    trials = [Trial(str(grid.settings["config"].iloc[row]), unit) for row in order for unit in grid.units]
    return rank_table(lookup.scores_of(trials[:budget]))


def random_trainings(lookup: GridLookup, budget: int, seed: int) -> Ranking:
    grid = lookup.grid(seed)
    trials = [Trial(str(name), unit) for name in grid.settings["config"] for unit in grid.units]
    order = np.random.default_rng(seed).permutation(len(trials))[:budget]
    return rank_table(lookup.scores_of([trials[index] for index in order]))


def _setting_key(setting: RankedSetting) -> tuple[str, str]:
    return setting.config, str(setting.settings.get("epoch", float("nan")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="a study's folder, or a table of scores")
    parser.add_argument("--configs", type=Path)
    parser.add_argument("--budget", type=int, help="trainings; default: a third of the grid's")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--samplers", default="posterior", help="posterior, random, tpe, nsga2; separated by commas")
    parser.add_argument("--table-seeds", help="use only these training seeds of the table")
    arguments = parser.parse_args()

    table = read_table(
        arguments.study / SCORES_FILE if arguments.study.is_dir() else arguments.study, arguments.configs
    )
    if arguments.table_seeds:
        rows = table.rows["seed"].astype(str).isin(arguments.table_seeds.split(","))
        table = ScoreTable(table.rows[rows], table.scores[rows], table.measures)
    lookup = GridLookup(table)
    grid = lookup.grid(0)
    budget = arguments.budget or grid.training_count // 3
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    print(
        f"grid: {len(grid.settings)} settings x {len(grid.units)} concepts and seeds = {grid.training_count} "
        f"trainings, {len(lookup.points)} settings with checkpoints; "
        f"budget {budget} ({budget / grid.training_count:.0%})"
    )
    strategies: dict[str, Strategy] = {
        f"adaptive, {one}": adaptive_strategy(one) for one in arguments.samplers.split(",")
    }
    strategies |= {"random settings": random_settings, "random trainings": random_trainings}
    worst = lookup.points.min(axis=0)
    print(f"{'':<24}{'share of hypervolume':>24} {'above worst':>12} {'front':>6} {'regret':>7} {'seconds':>8}")
    for name, strategy in strategies.items():
        rows = []
        for seed in seeds:
            started = time.perf_counter()
            ranking = strategy(lookup, budget, seed)
            assert ranking is not None
            answer = recommend(ranking)
            settings = [lookup.setting_rows[_setting_key(one)] for one in answer.likely_front]
            best = lookup.setting_rows[_setting_key(answer.choice)]
            shares = lookup.hypervolume_share(settings, 0.0), lookup.hypervolume_share(settings, worst)
            rows.append(
                (
                    *shares,
                    len(settings),
                    lookup.mean_ranks.max() - lookup.mean_ranks[best],
                    time.perf_counter() - started,
                )
            )
            if len(seeds) <= 5:
                print(f"  {name:<22}{f'seed {seed}':>12}{rows[-1][0]:>12.3f} {shares[1]:>12.3f} {len(settings):>6}")
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
