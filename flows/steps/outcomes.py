"""What a study found, in the shapes that people and programs read: the report's, the table's and the JSON's."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.config.experiment import Experiment
from lycoris.analysis import RULE, Choice
from lycoris.analysis.statistics.measures import COSTS, EFFICIENCY
from lycoris.safety.redaction import redacted
from tasks.artifacts import Captioned, Cell, Made
from tasks.data_versions.dvc import DataVersion
from tasks.generate import drawing_seconds, drawn
from tasks.runtime.model_refs import Sources
from tasks.score import Scored
from tasks.tracking.runs import Server, Tracked, whereabouts
from tasks.train import FACTS, SAMPLES

SETTINGS = ("algorithm", "preset", "rank", "alpha", "factor", "pictures")
"""Of an adapter's settings those that stand in the table of scores; pictures where some adapter has few on purpose."""


@dataclass(frozen=True)
class CellOutcome:
    """All that came of one adapter."""

    concept: Captioned
    adapter: Made
    images: Made
    scores: Scored
    file: Path
    facts: Mapping[str, Any]
    settings: Mapping[str, Any]
    tracked: Tracked

    @property
    def cached(self) -> bool:
        return self.adapter.cached and self.images.cached and self.scores.cached


@dataclass
class Outcome:
    """All that came of a study, filled as it comes in."""

    server: Server
    parent: str
    cells: dict[Cell, CellOutcome] = field(default_factory=dict)
    failed: dict[Cell, str] = field(default_factory=dict)
    bases: dict[tuple[str, str], list[Made]] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)


def facts(made: Made) -> dict[str, Any]:
    """What is known of a training: ``step``, ``epoch``, ``losses``, ``bands``, ``seen``, ``parameters``, ``layers``,
    ``seconds``, ``pictures``, ``upscaled``, ``set_aside``."""
    return json.loads((made.folder / FACTS).read_text())


def curves(facts: Mapping[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Curve by name, as (step, value): ``loss``, the same by band of times, and what was seen on the way."""
    found = {"loss": list(enumerate(facts["losses"], 1))}
    for name, losses in facts["bands"].items():
        found[f"loss/{name}"] = [(step, loss) for step, loss in enumerate(losses, 1) if loss is not None]
    for row in facts["seen"]:
        for name, value in row.items():
            if name.startswith("validation"):
                found.setdefault(name, []).append((row["step"], value))
    return found


def samples(made: Made, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was drawn on the way: ``{"count", "step", "epoch", "images": [path, ...]}``, in order."""
    return [
        {
            **{name: row[name] for name in ("count", "step", "epoch")},
            "images": [
                str(made.folder / SAMPLES / f"{row['count']:g}" / f"{number:02d}.png")
                for number in range(row["samples"])
            ],
        }
        for row in facts["seen"]
        if "samples" in row and (made.folder / SAMPLES).is_dir()
    ]


def caption_rows(concept: Captioned, strategy: str) -> list[dict[str, str]]:
    """A concept's captions as a table."""
    return [
        {"picture": path.name, "strategy": strategy, "caption": caption}
        for path, caption in zip(concept.pictures, concept.captions[strategy], strict=True)
    ]


def commit(project: Path) -> str:
    """The commit of the code, with a mark when the tree was changed; "unknown" outside a repository."""
    command = ["git", "-C", str(project), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def study(
    experiment: Experiment,
    version: DataVersion,
    models: Sources,
    captioned: list[Captioned],
    outcome: Outcome,
    seconds: float,
    *,
    project: Path,
) -> dict[str, Any]:
    """What `lycoris.report.render` takes."""
    from lycoris.metrics import describe

    adapters = [_adapter(cell, one, outcome) for cell, one in outcome.cells.items()]
    adapters += [{"name": cell.name, **_described(cell), "error": error} for cell, error in outcome.failed.items()]
    return {
        "title": f"Study {experiment.name}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": redacted(" ".join(["lycoris", *sys.argv[1:]])),
        "seconds": seconds,
        "data_version": version.hash,
        "commit": commit(project),
        "base": {"name": models.base[0], "digest": models.base[1]},
        "settings": experiment.model_dump(mode="json"),
        "hardware": hardware(),
        "rule": RULE,
        "tracking": whereabouts(outcome.server, outcome.parent),
        "concepts": [concept_record(concept) for concept in captioned],
        "metrics": describe(),
        "bases": [
            {"concept": concept, "captions": strategy, "drawings": _joined(made)}
            for (concept, strategy), made in outcome.bases.items()
        ],
        "adapters": adapters,
    }


def hardware() -> str:
    """What a run ran on."""
    import os

    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"{len(os.sched_getaffinity(0))} CPU cores ({platform.machine()})"


def concept_record(concept: Captioned) -> dict[str, Any]:
    """A concept as the report takes it."""
    return {
        "name": concept.name,
        "category": concept.category,
        "trigger": concept.trigger,
        "class_noun": concept.class_noun,
        "description": concept.description,
        "references": [str(path) for path in concept.pictures],
        "captions": {name: list(texts) for name, texts in concept.captions.items()},
        "inherent": [entry["tag"] for entry in concept.inherent if entry["inherent"]],
    }


def _joined(made: list[Made]) -> dict[str, Any]:
    return {kind: some for stage in made for kind, some in drawn(stage).items()}


def _described(cell: Cell) -> dict[str, Any]:
    return {
        "concept": cell.concept,
        "algorithm": cell.algorithm,
        "captions": cell.captions,
        "seed": cell.seed,
        "checkpoint": None if cell.checkpoint is None else f"{cell.unit} {cell.checkpoint}",
    }


def _adapter(cell: Cell, one: CellOutcome, outcome: Outcome) -> dict[str, Any]:
    choice = outcome.choices.get(cell.concept)
    champion = choice is not None and choice.adapter == cell.name
    return {
        "name": cell.name,
        **_described(cell),
        "file": str(one.file),
        "bytes": one.file.stat().st_size,
        "parameters": one.facts["parameters"],
        "pictures": one.facts["pictures"],
        "set_aside": one.facts["set_aside"],
        "run_id": one.tracked.run_id,
        "cached": one.cached,
        "champion": champion,
        "reason": choice.reason if choice is not None and champion else None,
        "seconds": {"train": one.facts["seconds"], "draw": one.images.seconds},
        "efficiency": costs(one),
        **_curves(cell, one),
        "settings": dict(one.settings),
        "scores": {record["name"]: record for record in one.scores.records},
        "drawings": drawn(one.images),
    }


def costs(one: CellOutcome) -> dict[str, float | None]:
    """What an adapter costs, by the names of `lycoris.analysis.statistics.measures.COSTS`; None where that was not measured."""
    alone = one.facts.get("at_once") == 1
    found = (
        one.facts["seconds"],
        one.facts.get("peak_memory") if alone else None,
        one.file.stat().st_size,
        drawing_seconds(one.images),
    )
    return dict(zip(COSTS, found, strict=True))


def _efficiency(one: CellOutcome) -> list[dict[str, Any]]:
    """What an adapter costs, as scores of a dimension beside the five."""
    return [
        {"name": name, "value": value, "dimension": EFFICIENCY, "higher_is_better": False}
        for name, value in costs(one).items()
        if value is not None
    ]


def _curves(cell: Cell, one: CellOutcome) -> dict[str, Any]:
    """A training's curves and samples, at its end; its checkpoints have parts of them."""
    if cell.checkpoint is not None:
        return {"losses": []}
    found = curves(one.facts)
    return {
        "losses": one.facts["losses"],
        "bands": one.facts["bands"],
        "validation": found.get("validation", []),
        "samples": samples(one.adapter, one.facts),
        "unit": cell.unit,
    }


def table(outcome: Outcome, out: Path, *, efficiency: bool = False) -> Path:
    """Every score of every adapter as a CSV file, one row a score; on request with what each adapter costs.

    How long an adapter was trained stands under ``epoch`` where every training's length is in epochs, else under
    ``steps``.
    """
    import pandas as pd

    from lycoris.report.shared.templates import write_whole

    in_epochs = all(cell.unit == "epoch" for cell in outcome.cells)
    rows = [
        {
            "concept": cell.concept,
            "category": one.concept.category,
            "config": cell.algorithm,
            **{name: one.settings.get(name) for name in SETTINGS if name in one.settings or name != "pictures"},
            "learning_rate": one.settings["training"]["learning_rate"],
            "captions": cell.captions,
            "seed": cell.seed,
            **(
                {"epoch": cell.checkpoint or one.settings["training"]["epochs"]}
                if in_epochs
                else {"steps": one.facts["step"]}
            ),
            "run_id": one.tracked.run_id,
            **record,
        }
        for cell, one in outcome.cells.items()
        for record in [*one.scores.records, *(_efficiency(one) if efficiency else [])]
    ]
    return write_whole(pd.DataFrame(rows).to_csv(index=False), out)


def write(study: Mapping[str, Any], out: Path) -> Path:
    """What the report was made of, as a file of JSON; it appears whole or not at all."""
    from lycoris.report.shared.templates import write_whole

    return write_whole(json.dumps(study, ensure_ascii=False, default=str), out)


def summary(outcome: Outcome, page: Path, version: DataVersion, seconds: float) -> dict[str, Any]:
    """What `lycoris run --json` prints."""
    adapters: list[dict[str, Any]] = [
        {
            **_described(cell),
            "file": str(one.file.resolve()),
            "run_id": one.tracked.run_id,
            "step": one.facts["step"],
            "epoch": one.facts["epoch"],
            "scores": {record["name"]: record["value"] for record in one.scores.records},
            "base_scores": {record["name"]: record["base"] for record in one.scores.records},
            "cached": one.cached,
            "set_aside": one.facts["set_aside"],
        }
        for cell, one in outcome.cells.items()
    ]
    adapters += [{**_described(cell), "error": error} for cell, error in outcome.failed.items()]
    return {
        "report": str(page.resolve()),
        "data_version": version.hash,
        "seconds": round(seconds, 1),
        "adapters": adapters,
    }
