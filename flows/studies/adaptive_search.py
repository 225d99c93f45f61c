"""Adaptive search of a study's grid: the scores so far decide what is trained next."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pandas as pd
from pydantic import Field

from flows.config import monitoring
from flows.config.adapter import AdapterConfig
from flows.config.concepts import select_concepts
from flows.config.experiment import Experiment
from flows.config.record import ConfigRecord
from flows.steps.serializers import write_study
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
from lycoris.analysis.text.formatting import counted
from lycoris.cache.atomic import atomic_write_text
from lycoris.errors import InputError
from lycoris.report.run.schema import StudyRecord, read_study_record
from tasks.trainings import times_label

RESULT_FILE = "adaptive.json"
RunExperiment = Callable[[Experiment], dict[str, Any]]
"""Runs an experiment and returns the result of `flows.customize.customize`; its tables are in the study's folder."""


class SearchConfig(ConfigRecord):
    """How the grid of a study is searched."""

    budget: int | None = Field(None, description="number of trainings; default: a third of the grid")
    seed: int = Field(0, ge=0, description="seed of the order of concepts, of ties and of random choices")
    sampler: str = Field("posterior", description="how settings are suggested: posterior, random, tpe or nsga2")


@dataclass
class SearchState:
    """The grid of an experiment and the results of its trainings so far.

    Attributes:
        experiment: The whole grid.
        concepts: The concepts of the experiment.
        folder: Where the results are collected.
        score_tables: The table of scores of each run.
        study_records: The content of ``study.json`` of each run.
        failures: The records of adapters that failed.
    """

    experiment: Experiment
    concepts: tuple[str, ...]
    folder: Path
    score_tables: list[pd.DataFrame] = field(default_factory=list)
    study_records: list[StudyRecord] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        units = {
            monitoring.length_unit(self.experiment.adapter_settings(adapter).training)
            for adapter in self.experiment.algorithms
        }
        if len(units) > 1:
            raise InputError("An adaptive study needs training lengths that are all in epochs or all in steps.")

    @classmethod
    def of_experiment(cls, experiment: Experiment, data: Path) -> SearchState:
        """Return the grid of an experiment on the concepts of a data folder, without results."""
        names = select_concepts(experiment, data).names or ()
        return cls(experiment, names, experiment.output / experiment.name)

    @property
    def settings(self) -> dict[str, tuple[AdapterConfig, str]]:
        """Setting, as named in tables of scores -> adapter and caption strategy."""
        return {
            f"{adapter.label} · {strategy}": (adapter, strategy)
            for adapter in self.experiment.algorithms
            for strategy in self.experiment.captions_of(adapter)
        }

    def grid(self, seed: int) -> Grid:
        """Return everything that can be trained, with the concepts in random order."""
        rows = []
        for config, (adapter, strategy) in self.settings.items():
            settings = self.experiment.adapter_settings(adapter)
            training = settings.training
            rows.append(
                {
                    "config": config, "captions": strategy, "algorithm": settings.algorithm,
                    "preset": settings.preset or "", "dim": settings.rank, "alpha": settings.alpha,
                    "factor": settings.factor, "learning_rate": training["learning_rate"],
                    "times": times_label(training),
                    "epoch": monitoring.training_length(training),
                }
            )  # fmt: skip
        table = pd.DataFrame(rows)
        numeric = ["dim", "alpha", "factor", "learning_rate", "epoch"]
        table[numeric] = table[numeric].astype("float64")
        units = [(concept, str(train_seed)) for train_seed in self.experiment.seeds for concept in self.concepts]
        return Grid(complete_settings(table), shuffled_units(units, seed))

    def experiments_for(self, trials: Iterable[Trial]) -> list[Experiment]:
        """Return experiments that run these trials and nothing else, one for all that differ only in the adapter."""
        groups: dict[tuple[Any, ...], list[AdapterConfig]] = {}
        for trial in trials:
            adapter, strategy = self.settings[trial.config]
            checkpoints = self._remaining_checkpoints(adapter, trial.dropped_checkpoints)
            groups.setdefault((trial.unit, strategy, checkpoints), []).append(
                adapter.model_copy(update={"captions": None})
            )
        return [
            self.experiment.model_copy(
                update={
                    "concepts": (concept,), "seeds": (int(seed),), "captions": (strategy,),
                    "algorithms": tuple(adapters), "checkpoints": checkpoints,
                }
            )
            for ((concept, seed), strategy, checkpoints), adapters in groups.items()
        ]  # fmt: skip

    def _remaining_checkpoints(self, adapter: AdapterConfig, dropped: frozenset[int]) -> tuple[int, ...]:
        """Return the checkpoints that are still evaluated; `dropped` counts from the end of the training."""
        length = monitoring.training_length(self.experiment.adapter_settings(adapter).training)
        counts = [count for count in sorted(self.experiment.checkpoints) if count < length]
        return tuple(count for index, count in enumerate(counts) if len(counts) - index not in dropped)

    def add_result(self, result: Mapping[str, Any]) -> set[str]:
        """Add the tables that one run wrote.

        Returns:
            The settings for which a training failed.
        """
        failures = [adapter for adapter in result["adapters"] if adapter.get("error")]
        self.failures += failures
        self.study_records.append(read_study_record(self.folder / STUDY_FILE))
        if len(failures) < len(result["adapters"]):
            self.score_tables.append(pd.read_csv(self.folder / SCORES_FILE, dtype=str, keep_default_na=False))
        return {f"{adapter['algorithm']} · {adapter['captions']}" for adapter in failures}

    def combined_table(self) -> ScoreTable | None:
        """Write and read the scores of all runs so far; None without any. Replaces the table of the last run."""
        if not self.score_tables:
            return None
        file = self.folder / SCORES_FILE
        atomic_write_text(file, pd.concat(self.score_tables, ignore_index=True).to_csv(index=False))
        return read_table(file)

    def combined_study(self) -> StudyRecord:
        """Return the records of all runs as those of one study."""
        records = self.study_records
        combined: dict[str, dict[Any, Any]] = {
            "concepts": {concept["name"]: concept for record in records for concept in record["concepts"]},
            "bases": {(base["concept"], base["captions"]): base for record in records for base in record["bases"]},
            "adapters": {adapter["name"]: adapter for record in records for adapter in record["adapters"]},
        }
        study = {
            **records[0],
            **{name: list(entries.values()) for name, entries in combined.items()},
            "settings": self.experiment.model_dump(mode="json"),
            "seconds": sum(record["seconds"] for record in records),
        }
        return cast(StudyRecord, study)


def run_search(state: SearchState, run_experiment: RunExperiment, config: SearchConfig) -> dict[str, Any]:
    """Search the grid of an experiment and recommend a setting.

    Trainings that are cached, from this or any other study, are not repeated, so an interrupted search resumes when it
    is started again.

    Args:
        state: The grid, without results.
        run_experiment: Runs an experiment; nothing is promoted.
        config: Budget, seed and sampler.

    Returns:
        The result of `flows.studies.recommend.recommend_study`, with ``trainings``, ``grid``, ``budget``, ``front``
        (settings that are on the front with a probability of at least `LIKELY_FRONT_CHANCE`), ``hypervolume`` and
        ``failed``; ``adaptive.json`` holds the same.

    Raises:
        InputError: The budget is below 1, or no training succeeded.
    """
    from lycoris.report import render

    grid = state.grid(config.seed)
    budget = search_budget(grid, config.budget)
    trials: list[Trial] = []

    def run_trials(batch: list[Trial]) -> tuple[ScoreTable | None, set[str]]:
        trials.extend(batch)
        failed = {
            setting for part in state.experiments_for(batch) for setting in state.add_result(run_experiment(part))
        }
        return state.combined_table(), failed

    progress, ranking = search(grid, run_trials, budget=budget, seed=config.seed, sampler=get_sampler(config.sampler))
    if ranking is None:
        raise InputError(f"No training of the study succeeded: {state.failures[0]['error'] if state.failures else ''}")
    study = state.combined_study()
    write_study(study, state.folder / STUDY_FILE)
    page = render(study, state.folder / "report.html")
    recommendation = recommend_study(state.folder)
    likely = [
        setting["config"]
        for setting in recommendation["settings"]
        if not setting["left_out"] and setting["chance"] >= LIKELY_FRONT_CHANCE
    ]
    result = {
        **recommendation,
        "report": str(page.resolve()),
        "trainings": progress.count,
        "grid": grid.training_count,
        "budget": budget,
        "seed": config.seed,
        "explorer": config.sampler,
        "front": list(dict.fromkeys(likely)),
        "hypervolume": _hypervolume(ranking),
        "asked": [{"setting": trial.config, "concept": trial.unit[0], "seed": int(trial.unit[1])} for trial in trials],
        "failed": state.failures,
    }
    result["lines"] = [*recommendation["lines"], budget_summary(progress, grid)]
    atomic_write_text(state.folder / RESULT_FILE, json.dumps(result, ensure_ascii=False, indent=1))
    return result


def search_budget(grid: Grid, budget: int | None) -> int:
    """Return the number of trainings: as requested, at most the whole grid; by default a third of it.

    Raises:
        InputError: Fewer than one is requested.
    """
    if budget is None:
        return max(1, grid.training_count // 3)
    if budget < 1:
        raise InputError(f"Option `--budget` must be at least 1, but got {budget}.")
    return min(budget, grid.training_count)


def describe_search(grid: Grid, budget: int) -> list[str]:
    """Describe what a search will do, in lines."""
    concepts = len({concept for concept, _ in grid.units})
    return [
        f"At most {budget} of {grid.training_count} trainings: {counted(len(grid.settings), 'setting')} x "
        f"{counted(concepts, 'concept')} x {counted(len(grid.units) // concepts, 'seed')}",
        "every setting is trained on one concept first; those that may be on the Pareto front continue to the next"
        if budget >= len(grid.settings)
        else f"{budget} settings, chosen one after another, are trained on one concept",
    ]


def budget_summary(progress: Progress, grid: Grid) -> str:
    """State how much of the grid was trained."""
    tried = len(progress.trial_counts)
    most = max(progress.trial_counts.values(), default=0)
    return (
        f"{progress.count} of the grid's {grid.training_count} trainings were done: {tried} of {len(grid.settings)} "
        f"settings, on 1 to {most} of {len(grid.units)} concepts and seeds."
    )


def _hypervolume(ranking: Ranking) -> float:
    import numpy as np

    return hypervolume(np.nan_to_num(score_settings(ranking).points))
