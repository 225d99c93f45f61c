"""Which training to do next, so that few trainings tell nearly what a whole grid would.

A grid is settings x (concept, seed) pairs. What one training tells is noisy, but a few concepts place most settings.
So every setting meets the first concept, as far as the budget reaches; then the settings race, concept after concept:
one whose chance to be on the Pareto front has fallen below `LEAST_CHANCE` is trained no further, and a checkpoint
likewise is drawn no further. Where there are more settings than trainings, a posterior over what is not yet
trained says which settings meet the first concept (`lycoris.analysis.statistics.gaussian_process`).

Sources: racing is that of Maron and Moore, NIPS 1993, and of F-Race, Birattari et al., GECCO 2002, here for fronts.
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
"""Below this chance to be on the front a setting is trained no further."""
INITIAL_SETTINGS = 8
"""Settings that are spread over the grid before a posterior chooses."""

ConceptSeed = tuple[str, str]
"""A concept and a seed."""


@dataclass(frozen=True, eq=False)
class Grid:
    """All that could be trained.

    Attributes:
        settings: a row a setting, with ``config``, its name in tables of scores, and the attributes of
            `lycoris.analysis.statistics.configurations.describe`.
        units: the pairs of concept and seed, in the order in which they are met.
    """

    settings: pd.DataFrame
    units: Sequence[ConceptSeed]

    @property
    def training_count(self) -> int:
        """Of the whole grid."""
        return len(self.settings) * len(self.units)


@dataclass(frozen=True)
class Trial:
    """One training to do.

    Attributes:
        config: the setting.
        unit: the concept and the seed.
        dropped: its checkpoints that need not be drawn, counted from the end of the training, which is 0.
    """

    config: str
    unit: ConceptSeed
    dropped_checkpoints: frozenset[int] = frozenset()


@dataclass
class Progress:
    """What was trained.

    Attributes:
        trained: setting -> how many units it has met, failed ones included.
        failed: settings of which a training failed; they are left out from then on.
    """

    trial_counts: dict[str, int] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        """Trainings done."""
        return sum(self.trial_counts.values())

    def add(self, trial: Trial, *, failed: bool = False) -> None:
        """Note a training that was done."""
        self.trial_counts[trial.config] = self.trial_counts.get(trial.config, 0) + 1
        if failed:
            self.failed.add(trial.config)


Sampler = Callable[[pd.DataFrame, Mapping[str, np.ndarray], np.random.Generator], int]
"""From settings, tried setting -> points of its arms (the end last) and random numbers to the row to try next."""


def next_trials(
    grid: Grid,
    progress: Progress,
    scores: SettingScores | None,
    *,
    budget: int,
    seed: int,
    sampler: Sampler | None = None,
) -> list[Trial]:
    """The trainings to do next: one, while settings are looked for; the rest of a concept, while they race.

    The same state has the same answer, so that a search which was cut off goes on as if it had not been.

    Args:
        grid: what could be trained.
        progress: what was trained.
        standing: of what was scored; None before anything was.
        budget: trainings in all.
        seed: of ties and of draws.
        explorer: chooses the settings to try where the budget is smaller than their number; by default
            :func:`explore`.

    Returns:
        None left: the budget is used, or nothing is worth training further.
    """
    rng = np.random.default_rng([seed, progress.count])
    left = budget - progress.count
    configs = [str(name) for name in grid.settings["config"]]
    new = [name for name in configs if name not in progress.trial_counts]
    if left <= 0:
        return []
    if new and len(new) <= left:
        order = [new[place] for place in rng.permutation(len(new))]
        return [Trial(name, grid.units[0]) for name in order]
    if new:
        points = {} if scores is None else _setting_points(scores)
        chosen = (sampler or suggest_setting)(grid.settings, points, rng)
        return [Trial(configs[chosen], grid.units[0])]
    return _race(grid, progress, scores, rng)[:left]


def suggest_setting(settings: pd.DataFrame, points: Mapping[str, np.ndarray], rng: np.random.Generator) -> int:
    """The setting to try next: the first `FIRST` far from each other, then the most promising."""
    if len(points) < INITIAL_SETTINGS:
        return farthest_setting(settings, list(points), rng)
    return expected_hypervolume_argmax(settings, points, rng)


def _race(grid: Grid, progress: Progress, scores: SettingScores | None, rng: np.random.Generator) -> list[Trial]:
    if scores is None:
        return []
    chances = front_probabilities(scores, rng)
    alive: dict[str, set[int]] = {}
    every: dict[str, int] = {}
    for arm, (config, place) in enumerate(checkpoint_offsets(scores.settings)):
        every[config] = max(every.get(config, 0), place)
        if chances[arm] >= MIN_FRONT_CHANCE:
            alive.setdefault(config, set()).add(place)
    open_ones = [
        name for name in alive if name not in progress.failed and progress.trial_counts.get(name, 0) < len(grid.units)
    ]
    if not open_ones:
        return []
    fewest = min(progress.trial_counts[name] for name in open_ones)
    behind = [name for name in open_ones if progress.trial_counts[name] == fewest]
    return [
        Trial(name, grid.units[fewest], frozenset(range(1, every[name] + 1)) - alive[name])
        for name in (behind[place] for place in rng.permutation(len(behind)))
    ]


def checkpoint_offsets(settings: pd.DataFrame) -> list[tuple[str, int]]:
    """The setting of each arm, and its place among that setting's checkpoints: 0 at the end of the training."""
    place = settings.groupby("config")["epoch"].rank(method="first", ascending=False).fillna(1) - 1
    return [(str(config), int(at)) for config, at in zip(settings["config"], place, strict=True)]


def _setting_points(scores: SettingScores) -> dict[str, np.ndarray]:
    """Setting -> the points of its arms, the end last."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for (config, place), point in zip(checkpoint_offsets(scores.settings), np.nan_to_num(scores.points), strict=True):
        found.setdefault(config, {})[place] = point
    return {config: np.stack([own[place] for place in sorted(own, reverse=True)]) for config, own in found.items()}


RunTrials = Callable[[list[Trial]], tuple[ScoreTable | None, set[str]]]
"""Does trainings; gives the scores of all that was trained so far, and the settings of which a training failed."""


def search(
    grid: Grid, run_trials: RunTrials, *, budget: int, seed: int, sampler: Sampler | None = None
) -> tuple[Progress, Ranking | None]:
    """Ask and train until the budget is used or nothing is worth training further.

    Args:
        grid: what could be trained.
        train: does the trainings, or looks them up.
        budget: trainings in all, at least 1.
        seed: of ties and of draws.
        explorer: as for :func:`ask`.

    Returns:
        What was trained, and its ranking; None where nothing was scored.
    """
    progress, ranking = Progress(), None
    while asked := next_trials(
        grid, progress, None if ranking is None else score_settings(ranking), budget=budget, seed=seed, sampler=sampler
    ):
        table, failed = run_trials(asked)
        for one in asked:
            progress.add(one, failed=one.config in failed)
        ranking = None if table is None else rank_table(table)
    return progress, ranking


def shuffled_units(units: Iterable[ConceptSeed], seed: int) -> list[ConceptSeed]:
    """Every concept, in random order, with the first seed; then with the next.

    In random order, the first few concepts are a fair sample of all.

    Args:
        units: pairs of concept and seed.
        seed: of the order.
    """
    known = list(dict.fromkeys(units))
    concepts = sorted({concept for concept, _ in known})
    order = [concepts[place] for place in np.random.default_rng(seed).permutation(len(concepts))]
    seeds = dict.fromkeys(one for _, one in known)
    return [(concept, one) for one in seeds for concept in order if (concept, one) in known]
