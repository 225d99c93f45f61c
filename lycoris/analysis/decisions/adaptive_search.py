"""Adaptive search: which training to do next, so that few trainings find nearly the front of a whole grid.

A grid is settings x (concept, seed) pairs. One training is noisy, but a few concepts suffice to rank most settings.
Every setting is trained on the first concept, as far as the budget allows; then the settings race, concept after
concept: a setting whose probability to be on the Pareto front falls below `MIN_FRONT_CHANCE` is dropped, and so is a
checkpoint. Where there are more settings than trainings, a sampler (`lycoris.analysis.decisions.samplers`) chooses
those for the first concept.

Sources: racing is that of Maron and Moore, NIPS 1993, and of F-Race, Birattari et al., GECCO 2002, applied to fronts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lycoris.analysis.io.score_table import ScoreTable
from lycoris.analysis.statistics.gaussian_process import expected_hypervolume_argmax, farthest_setting
from lycoris.analysis.statistics.ranking import Ranking, rank_table
from lycoris.analysis.statistics.setting_scores import SettingScores, front_probabilities, score_settings

MIN_FRONT_CHANCE = 0.05
"""A setting with a lower probability to be on the front is dropped."""
INITIAL_SETTINGS = 8
"""Settings spread over the grid before the Gaussian process chooses."""

ConceptSeed = tuple[str, str]
"""A concept and a seed."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Everything that could be trained.

    Attributes:
        settings: one row per setting: ``config``, its name in tables of scores, and the columns of
            `lycoris.analysis.statistics.configurations.describe`.
        units: the pairs of concept and seed, in the order of training.
    """

    settings: pd.DataFrame
    units: Sequence[ConceptSeed]

    @property
    def training_count(self) -> int:
        """The number of trainings in the whole grid."""
        return len(self.settings) * len(self.units)


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        config: the setting.
        unit: the concept and the seed.
        dropped_checkpoints: the checkpoints that need no evaluation, counted from the end of training, which is 0.
    """

    config: str
    unit: ConceptSeed
    dropped_checkpoints: frozenset[int] = frozenset()


@dataclass
class Progress:
    """The trainings done.

    Attributes:
        trial_counts: setting -> its number of trainings, failed ones included.
        failed: settings with a failed training; they are not trained again.
    """

    trial_counts: dict[str, int] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        """The number of trainings done."""
        return sum(self.trial_counts.values())

    def add(self, trial: Trial, *, failed: bool = False) -> None:
        """Record a finished training."""
        self.trial_counts[trial.config] = self.trial_counts.get(trial.config, 0) + 1
        if failed:
            self.failed.add(trial.config)


Sampler = Callable[[pd.DataFrame, Mapping[str, np.ndarray], np.random.Generator], int]
"""From the settings, tried setting -> points of its checkpoints (the end last), and a generator, to the next row."""


def next_trials(
    grid: Grid,
    progress: Progress,
    scores: SettingScores | None,
    *,
    budget: int,
    seed: int,
    sampler: Sampler | None = None,
) -> list[Trial]:
    """The trainings to do next: one at a time while a sampler chooses; all of one concept while the settings race.

    Equal states give equal results, so an interrupted search continues as if it had not been interrupted.

    Args:
        grid: everything that could be trained.
        progress: the trainings done.
        scores: of the trainings done; None before the first.
        budget: the total number of trainings.
        seed: of ties and samples.
        sampler: chooses the settings where the budget is smaller than their number; default:
            :func:`suggest_setting`.

    Returns:
        An empty list when the budget is used or no setting is worth more training.
    """
    rng = np.random.default_rng([seed, progress.count])
    remaining = budget - progress.count
    configs = [str(name) for name in grid.settings["config"]]
    new = [name for name in configs if name not in progress.trial_counts]
    if remaining <= 0:
        return []
    if new and len(new) <= remaining:
        order = [new[index] for index in rng.permutation(len(new))]
        return [Trial(name, grid.units[0]) for name in order]
    if new:
        points = {} if scores is None else _setting_points(scores)
        chosen = (sampler or suggest_setting)(grid.settings, points, rng)
        return [Trial(configs[chosen], grid.units[0])]
    return _race(grid, progress, scores, rng)[:remaining]


def suggest_setting(settings: pd.DataFrame, points: Mapping[str, np.ndarray], rng: np.random.Generator) -> int:
    """The row of the setting to try next: the first `INITIAL_SETTINGS` far from each other, then the most promising."""
    if len(points) < INITIAL_SETTINGS:
        return farthest_setting(settings, list(points), rng)
    return expected_hypervolume_argmax(settings, points, rng)


def _race(grid: Grid, progress: Progress, scores: SettingScores | None, rng: np.random.Generator) -> list[Trial]:
    if scores is None:
        return []
    chances = front_probabilities(scores, rng)
    active: dict[str, set[int]] = {}
    last_offset: dict[str, int] = {}
    for row, (config, offset) in enumerate(checkpoint_offsets(scores.settings)):
        last_offset[config] = max(last_offset.get(config, 0), offset)
        if chances[row] >= MIN_FRONT_CHANCE:
            active.setdefault(config, set()).add(offset)
    candidates = [
        name for name in active if name not in progress.failed and progress.trial_counts.get(name, 0) < len(grid.units)
    ]
    if not candidates:
        return []
    fewest_trials = min(progress.trial_counts[name] for name in candidates)
    behind = [name for name in candidates if progress.trial_counts[name] == fewest_trials]
    return [
        Trial(name, grid.units[fewest_trials], frozenset(range(1, last_offset[name] + 1)) - active[name])
        for name in (behind[index] for index in rng.permutation(len(behind)))
    ]


def checkpoint_offsets(settings: pd.DataFrame) -> list[tuple[str, int]]:
    """The configuration of each row, and its checkpoint counted from the end of training, which is 0."""
    offsets = settings.groupby("config")["epoch"].rank(method="first", ascending=False).fillna(1) - 1
    return [(str(config), int(offset)) for config, offset in zip(settings["config"], offsets, strict=True)]


def _setting_points(scores: SettingScores) -> dict[str, np.ndarray]:
    """Configuration -> the points of its checkpoints, the end of training last."""
    points: dict[str, dict[int, np.ndarray]] = {}
    for (config, offset), point in zip(checkpoint_offsets(scores.settings), np.nan_to_num(scores.points), strict=True):
        points.setdefault(config, {})[offset] = point
    return {config: np.stack([own[offset] for offset in sorted(own, reverse=True)]) for config, own in points.items()}


RunTrials = Callable[[list[Trial]], tuple[ScoreTable | None, set[str]]]
"""Runs trainings; returns the scores of all trainings so far, and the settings with a failed training."""


def search(
    grid: Grid, run_trials: RunTrials, *, budget: int, seed: int, sampler: Sampler | None = None
) -> tuple[Progress, Ranking | None]:
    """Run trainings until the budget is used or no setting is worth more training.

    Args:
        grid: everything that could be trained.
        run_trials: runs trainings, or looks them up.
        budget: the total number of trainings, at least 1.
        seed: of ties and samples.
        sampler: as for :func:`next_trials`.

    Returns:
        The trainings done, and their ranking; None where nothing was scored.
    """
    progress, ranking = Progress(), None
    while trials := next_trials(
        grid, progress, None if ranking is None else score_settings(ranking), budget=budget, seed=seed, sampler=sampler
    ):
        table, failed = run_trials(trials)
        for one in trials:
            progress.add(one, failed=one.config in failed)
        ranking = None if table is None else rank_table(table)
    return progress, ranking


def shuffled_units(units: Iterable[ConceptSeed], seed: int) -> list[ConceptSeed]:
    """Every concept in random order with the first seed, then with the next; so the first concepts are a fair sample.

    Args:
        units: pairs of concept and seed.
        seed: of the order.
    """
    known = list(dict.fromkeys(units))
    concepts = sorted({concept for concept, _ in known})
    order = [concepts[index] for index in np.random.default_rng(seed).permutation(len(concepts))]
    seeds = dict.fromkeys(one for _, one in known)
    return [(concept, one) for one in seeds for concept in order if (concept, one) in known]
