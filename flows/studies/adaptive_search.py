"""A study's answer for fewer trainings: which to do next is decided by what those before have scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from flows.config import monitoring
from flows.config.experiment import Adapter, Experiment
from flows.steps import outcomes
from flows.studies.recommend import SCORES, STUDY, recommend_study
from lycoris.analysis.decisions.adaptive_search import Asked, Grid, Progress, ordered_units, search
from lycoris.analysis.decisions.pareto import hypervolume
from lycoris.analysis.decisions.recommendation import LIKELY
from lycoris.analysis.decisions.samplers import explorers
from lycoris.analysis.io.reading import read_table
from lycoris.analysis.io.score_table import Table
from lycoris.analysis.statistics.configurations import describe
from lycoris.analysis.statistics.ranking import Ranking
from lycoris.analysis.statistics.setting_scores import stand
from lycoris.errors import InputError
from lycoris.report.shared.templates import write_whole

RESULT = "adaptive.json"
Run = Callable[[Experiment], dict[str, Any]]


@dataclass
class Cells:
    """The cells of an experiment's grid, and what its trainings left so far.

    Attributes:
        experiment: the whole grid.
        concepts: those that it is about.
        folder: where results are gathered.
    """

    experiment: Experiment
    concepts: tuple[str, ...]
    folder: Path
    rows: list[pd.DataFrame] = field(default_factory=list)
    studies: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        units = {
            monitoring.unit(self.experiment.settings(adapter)["training"]) for adapter in self.experiment.algorithms
        }
        if len(units) > 1:
            raise InputError("An adaptive study needs lengths of training that are all in epochs or all in steps.")

    @property
    def settings(self) -> dict[str, tuple[Adapter, str]]:
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
            chosen = self.experiment.settings(adapter)
            training = chosen["training"]
            rows.append(
                {
                    "config": config, "captions": captions, "algorithm": chosen["algorithm"],
                    "preset": chosen["preset"] or "", "dim": chosen["rank"], "alpha": chosen["alpha"],
                    "factor": chosen["factor"], "learning_rate": training["learning_rate"],
                    "epoch": monitoring.length(training),
                }
            )  # fmt: skip
        frame = pd.DataFrame(rows)
        numbers = ["dim", "alpha", "factor", "learning_rate", "epoch"]
        frame[numbers] = frame[numbers].astype("float64")
        units = [(concept, str(one)) for one in self.experiment.seeds for concept in self.concepts]
        return Grid(describe(frame), ordered_units(units, seed))

    def parts(self, asked: Iterable[Asked]) -> list[Experiment]:
        """Experiments that do what is asked and nothing else: one for all that agree in all but the algorithm."""
        groups: dict[tuple[Any, ...], list[Adapter]] = {}
        for one in asked:
            adapter, captions = self.settings[one.config]
            own = adapter.model_copy(update={"captions": None})
            groups.setdefault((one.unit, captions, self._kept(adapter, one.dropped)), []).append(own)
        return [
            self.experiment.model_copy(
                update={
                    "concepts": (concept,), "seeds": (int(seed),), "captions": (captions,),
                    "algorithms": tuple(adapters), "checkpoints": checkpoints,
                }
            )
            for ((concept, seed), captions, checkpoints), adapters in groups.items()
        ]  # fmt: skip

    def _kept(self, adapter: Adapter, dropped: frozenset[int]) -> tuple[int, ...]:
        """The checkpoints that are still to be drawn."""
        length = monitoring.length(self.experiment.settings(adapter)["training"])
        counts = [count for count in sorted(self.experiment.checkpoints) if count < length]
        return tuple(count for place, count in enumerate(counts) if len(counts) - place not in dropped)

    def add(self, result: Mapping[str, Any]) -> set[str]:
        """Take up what one run left in the folder.

        Returns:
            The settings of which a training failed.
        """
        broken = [one for one in result["adapters"] if one.get("error")]
        self.failed += broken
        self.studies.append(json.loads((self.folder / STUDY).read_text(encoding="utf-8")))
        if len(broken) < len(result["adapters"]):
            self.rows.append(pd.read_csv(self.folder / SCORES, dtype=str, keep_default_na=False))
        return {f"{one['algorithm']} · {one['captions']}" for one in broken}

    def table(self) -> Table | None:
        """Every score so far; None without one. The file takes the place of that of the last run."""
        if not self.rows:
            return None
        file = self.folder / SCORES
        write_whole(pd.concat(self.rows, ignore_index=True).to_csv(index=False), file)
        return read_table(file)

    def study(self) -> dict[str, Any]:
        """All runs as one study."""
        first = self.studies[0]
        whole = {
            "concepts": {one["name"]: one for study in self.studies for one in study["concepts"]},
            "bases": {(one["concept"], one["captions"]): one for study in self.studies for one in study["bases"]},
            "adapters": {one["name"]: one for study in self.studies for one in study["adapters"]},
        }
        return {
            **first,
            **{name: list(each.values()) for name, each in whole.items()},
            "settings": self.experiment.model_dump(mode="json"),
            "seconds": sum(study["seconds"] for study in self.studies),
        }


def adaptive(
    cells: Cells, run: Run, *, budget: int | None = None, seed: int = 0, explorer: str = "posterior"
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
        What `flows.studies.recommend.recommend_study` says, and ``trainings``, ``grid``, ``budget``, ``front`` (settings that
        are on the front with a chance of at least `lycoris.analysis.decisions.recommendation.LIKELY`), ``hypervolume`` and
        ``failed``; the same is in ``adaptive.json``.

    Raises:
        InputError: the budget is below 1, or nothing could be trained.
    """
    from lycoris.report import render

    grid = cells.grid(seed)
    budget = budget_of(grid, budget)
    chosen = explorers(explorer)
    asked: list[Asked] = []

    def train(wanted: list[Asked]) -> tuple[Table | None, set[str]]:
        asked.extend(wanted)
        failed = {name for part in cells.parts(wanted) for name in cells.add(run(part))}
        return cells.table(), failed

    progress, ranking = search(grid, train, budget=budget, seed=seed, explorer=chosen)
    if ranking is None:
        raise InputError(f"No training of the study succeeded: {cells.failed[0]['error'] if cells.failed else ''}")
    whole = cells.study()
    outcomes.write(whole, cells.folder / STUDY)
    page = render(whole, cells.folder / "report.html")
    found = recommend_study(cells.folder)
    likely = [one["config"] for one in found["settings"] if not one["left_out"] and one["chance"] >= LIKELY]
    result = {
        **found,
        "report": str(page.resolve()),
        "trainings": progress.count,
        "grid": grid.trainings,
        "budget": budget,
        "seed": seed,
        "explorer": explorer,
        "front": list(dict.fromkeys(likely)),
        "hypervolume": _hypervolume(ranking),
        "asked": [{"setting": one.config, "concept": one.unit[0], "seed": int(one.unit[1])} for one in asked],
        "failed": cells.failed,
    }
    result["lines"] = [*found["lines"], spent(progress, grid)]
    write_whole(json.dumps(result, ensure_ascii=False, indent=1), cells.folder / RESULT)
    return result


def budget_of(grid: Grid, budget: int | None) -> int:
    """Trainings in all: as asked, at most the whole grid's; by default a third of them.

    Raises:
        InputError: fewer than one is asked for.
    """
    if budget is None:
        return max(1, grid.trainings // 3)
    if budget < 1:
        raise InputError(f"Option `--budget` must be at least 1, but got {budget}.")
    return min(budget, grid.trainings)


def plan(grid: Grid, budget: int) -> list[str]:
    """What a search may do, before it starts."""
    concepts = len({concept for concept, _ in grid.units})
    return [
        f"At most {budget} of {grid.trainings} trainings: {len(grid.settings)} settings x {concepts} concepts x "
        f"{len(grid.units) // concepts} seeds",
        "every setting meets one concept first; those that may be on the Pareto front go on to the next"
        if budget >= len(grid.settings)
        else f"{budget} settings, chosen one after another, meet one concept",
    ]


def spent(progress: Progress, grid: Grid) -> str:
    """How much of the grid was trained, in a sentence."""
    tried = len(progress.trained)
    most = max(progress.trained.values(), default=0)
    return (
        f"{progress.count} of the grid's {grid.trainings} trainings were done: {tried} of {len(grid.settings)} "
        f"settings, on 1 to {most} of {len(grid.units)} concepts and seeds."
    )


def _hypervolume(ranking: Ranking) -> float:
    import numpy as np

    return hypervolume(np.nan_to_num(stand(ranking).points))
