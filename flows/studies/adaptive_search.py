"""A study's answer for fewer trainings: which to do next is decided by what those before have scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from flows.config import monitoring
from flows.config.experiment import AdapterConfig, Experiment
from flows.steps import outcomes
from flows.studies.recommend import SCORES_FILE, STUDY_FILE, recommend_study
from lycoris.analysis.decisions.adaptive_search import Grid, Progress, Trial, search, shuffled_units
from lycoris.analysis.decisions.pareto import hypervolume
from lycoris.analysis.decisions.recommendation import LIKELY_FRONT_CHANCE
from lycoris.analysis.decisions.samplers import get_sampler
from lycoris.analysis.io.reading import read_table
from lycoris.analysis.io.score_table import ScoreTable
from lycoris.analysis.statistics.configurations import complete_settings
from lycoris.analysis.statistics.ranking import Ranking
from lycoris.analysis.statistics.setting_scores import score_settings
from lycoris.errors import InputError
from lycoris.report.shared.templates import atomic_write_text

RESULT_FILE = "adaptive.json"
RunExperiment = Callable[[Experiment], dict[str, Any]]


@dataclass
class SearchState:
    """The cells of an experiment's grid, and what its trainings left so far.

    Attributes:
        experiment: the whole grid.
        concepts: those that it is about.
        folder: where results are gathered.
    """

    experiment: Experiment
    concepts: tuple[str, ...]
    folder: Path
    score_tables: list[pd.DataFrame] = field(default_factory=list)
    study_records: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        units = {
            monitoring.length_unit(self.experiment.adapter_settings(adapter)["training"])
            for adapter in self.experiment.algorithms
        }
        if len(units) > 1:
            raise InputError("An adaptive study needs lengths of training that are all in epochs or all in steps.")

    @property
    def settings(self) -> dict[str, tuple[AdapterConfig, str]]:
        """Setting, as tables of scores name it, to the adapter and its captions."""
        return {
            f"{adapter.label} · {captions}": (adapter, captions)
            for adapter in self.experiment.algorithms
            for captions in self.experiment.captions_of(adapter)
        }

    def grid(self, seed: int) -> Grid:
        """All that could be trained, the concepts in an order drawn with a seed."""
        rows = []
        for config, (adapter, captions) in self.settings.items():
            chosen = self.experiment.adapter_settings(adapter)
            training = chosen["training"]
            rows.append(
                {
                    "config": config, "captions": captions, "algorithm": chosen["algorithm"],
                    "preset": chosen["preset"] or "", "dim": chosen["rank"], "alpha": chosen["alpha"],
                    "factor": chosen["factor"], "learning_rate": training["learning_rate"],
                    "epoch": monitoring.training_length(training),
                }
            )  # fmt: skip
        frame = pd.DataFrame(rows)
        numbers = ["dim", "alpha", "factor", "learning_rate", "epoch"]
        frame[numbers] = frame[numbers].astype("float64")
        units = [(concept, str(one)) for one in self.experiment.seeds for concept in self.concepts]
        return Grid(complete_settings(frame), shuffled_units(units, seed))

    def experiments_for(self, trials: Iterable[Trial]) -> list[Experiment]:
        """Experiments that do what is asked and nothing else: one for all that agree in all but the algorithm."""
        groups: dict[tuple[Any, ...], list[AdapterConfig]] = {}
        for one in trials:
            adapter, captions = self.settings[one.config]
            own = adapter.model_copy(update={"captions": None})
            groups.setdefault(
                (one.unit, captions, self._remaining_checkpoints(adapter, one.dropped_checkpoints)), []
            ).append(own)
        return [
            self.experiment.model_copy(
                update={
                    "concepts": (concept,), "seeds": (int(seed),), "captions": (captions,),
                    "algorithms": tuple(adapters), "checkpoints": checkpoints,
                }
            )
            for ((concept, seed), captions, checkpoints), adapters in groups.items()
        ]  # fmt: skip

    def _remaining_checkpoints(self, adapter: AdapterConfig, dropped: frozenset[int]) -> tuple[int, ...]:
        """The checkpoints that are still to be drawn."""
        length = monitoring.training_length(self.experiment.adapter_settings(adapter)["training"])
        counts = [count for count in sorted(self.experiment.checkpoints) if count < length]
        return tuple(count for place, count in enumerate(counts) if len(counts) - place not in dropped)

    def add_result(self, result: Mapping[str, Any]) -> set[str]:
        """Take up what one run left in the folder.

        Returns:
            The settings of which a training failed.
        """
        broken = [one for one in result["adapters"] if one.get("error")]
        self.failures += broken
        self.study_records.append(json.loads((self.folder / STUDY_FILE).read_text(encoding="utf-8")))
        if len(broken) < len(result["adapters"]):
            self.score_tables.append(pd.read_csv(self.folder / SCORES_FILE, dtype=str, keep_default_na=False))
        return {f"{one['algorithm']} · {one['captions']}" for one in broken}

    def combined_table(self) -> ScoreTable | None:
        """Every score so far; None without one. The file takes the place of that of the last run."""
        if not self.score_tables:
            return None
        file = self.folder / SCORES_FILE
        atomic_write_text(pd.concat(self.score_tables, ignore_index=True).to_csv(index=False), file)
        return read_table(file)

    def combined_study(self) -> dict[str, Any]:
        """All runs as one study."""
        first = self.study_records[0]
        whole = {
            "concepts": {one["name"]: one for study in self.study_records for one in study["concepts"]},
            "bases": {(one["concept"], one["captions"]): one for study in self.study_records for one in study["bases"]},
            "adapters": {one["name"]: one for study in self.study_records for one in study["adapters"]},
        }
        return {
            **first,
            **{name: list(each.values()) for name, each in whole.items()},
            "settings": self.experiment.model_dump(mode="json"),
            "seconds": sum(study["seconds"] for study in self.study_records),
        }


def run_search(
    state: SearchState,
    run_experiment: RunExperiment,
    *,
    budget: int | None = None,
    seed: int = 0,
    sampler: str = "posterior",
) -> dict[str, Any]:
    """Search an experiment's grid, and say what to take from it.

    Everything that was trained before, by this or by any study, is found and not trained again; so a search that was
    cut off goes on by being started again.

    Args:
        cells: of the grid.
        run: customizes: `flows.customize.customize`, on its workers. Nothing is crowned.
        budget: trainings in all; by default a third of the grid's.
        seed: of the order of concepts, of ties and of draws.
        explorer: of `lycoris.analysis.decisions.samplers.EXPLORERS`.

    Returns:
        What `flows.studies.recommend.recommend_study` says, and ``trainings``, ``grid``, ``budget``, ``front``
        (settings that
        are on the front with a chance of at least `lycoris.analysis.decisions.recommendation.LIKELY`),
        ``hypervolume`` and
        ``failed``; the same is in ``adaptive.json``.

    Raises:
        InputError: the budget is below 1, or nothing could be trained.
    """
    from lycoris.report import render

    grid = state.grid(seed)
    budget = search_budget(grid, budget)
    chosen = get_sampler(sampler)
    asked: list[Trial] = []

    def train(wanted: list[Trial]) -> tuple[ScoreTable | None, set[str]]:
        asked.extend(wanted)
        failed = {name for part in state.experiments_for(wanted) for name in state.add_result(run_experiment(part))}
        return state.combined_table(), failed

    progress, ranking = search(grid, train, budget=budget, seed=seed, sampler=chosen)
    if ranking is None:
        raise InputError(f"No training of the study succeeded: {state.failures[0]['error'] if state.failures else ''}")
    whole = state.combined_study()
    outcomes.write_study(whole, state.folder / STUDY_FILE)
    page = render(whole, state.folder / "report.html")
    found = recommend_study(state.folder)
    likely = [
        one["config"] for one in found["settings"] if not one["left_out"] and one["chance"] >= LIKELY_FRONT_CHANCE
    ]
    result = {
        **found,
        "report": str(page.resolve()),
        "trainings": progress.count,
        "grid": grid.training_count,
        "budget": budget,
        "seed": seed,
        "explorer": sampler,
        "front": list(dict.fromkeys(likely)),
        "hypervolume": _hypervolume(ranking),
        "asked": [{"setting": one.config, "concept": one.unit[0], "seed": int(one.unit[1])} for one in asked],
        "failed": state.failures,
    }
    result["lines"] = [*found["lines"], budget_summary(progress, grid)]
    atomic_write_text(json.dumps(result, ensure_ascii=False, indent=1), state.folder / RESULT_FILE)
    return result


def search_budget(grid: Grid, budget: int | None) -> int:
    """Trainings in all: as asked, at most the whole grid's; by default a third of them.

    Raises:
        InputError: fewer than one is asked for.
    """
    if budget is None:
        return max(1, grid.training_count // 3)
    if budget < 1:
        raise InputError(f"Option `--budget` must be at least 1, but got {budget}.")
    return min(budget, grid.training_count)


def describe_search(grid: Grid, budget: int) -> list[str]:
    """What a search may do, before it starts."""
    concepts = len({concept for concept, _ in grid.units})
    return [
        f"At most {budget} of {grid.training_count} trainings: {len(grid.settings)} settings x {concepts} concepts x "
        f"{len(grid.units) // concepts} seeds",
        "every setting meets one concept first; those that may be on the Pareto front go on to the next"
        if budget >= len(grid.settings)
        else f"{budget} settings, chosen one after another, meet one concept",
    ]


def budget_summary(progress: Progress, grid: Grid) -> str:
    """How much of the grid was trained, in a sentence."""
    tried = len(progress.trial_counts)
    most = max(progress.trial_counts.values(), default=0)
    return (
        f"{progress.count} of the grid's {grid.training_count} trainings were done: {tried} of {len(grid.settings)} "
        f"settings, on 1 to {most} of {len(grid.units)} concepts and seeds."
    )


def _hypervolume(ranking: Ranking) -> float:
    import numpy as np

    return hypervolume(np.nan_to_num(score_settings(ranking).points))
