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
from lycoris.analysis import CHAMPION_RULE, Champion
from lycoris.analysis.statistics.measures import COSTS, EFFICIENCY
from lycoris.safety.redaction import redact
from tasks.artifacts import Artifact, CaptionedConcept, RunSpec
from tasks.data_versions.dvc import DataVersion
from tasks.generate import image_records, seconds_per_image
from tasks.runtime.model_refs import ModelRefs
from tasks.score import Scores
from tasks.tracking.runs import LoggedRun, TrackingServer, tracking_links
from tasks.train import SAMPLES_DIR, SUMMARY_FILE

SETTING_COLUMNS = ("algorithm", "preset", "rank", "alpha", "factor", "pictures")
"""Of an adapter's settings those that stand in the table of scores; pictures where some adapter has few on purpose."""


@dataclass(frozen=True)
class RunOutcome:
    """All that came of one adapter."""

    concept: CaptionedConcept
    adapter: Artifact
    images: Artifact
    scores: Scores
    file: Path
    summary: Mapping[str, Any]
    settings: Mapping[str, Any]
    logged_run: LoggedRun

    @property
    def cached(self) -> bool:
        return self.adapter.cached and self.images.cached and self.scores.cached


@dataclass
class StudyOutcome:
    """All that came of a study, filled as it comes in."""

    server: TrackingServer
    parent_run: str
    runs: dict[RunSpec, RunOutcome] = field(default_factory=dict)
    failures: dict[RunSpec, str] = field(default_factory=dict)
    base_images: dict[tuple[str, str], list[Artifact]] = field(default_factory=dict)
    choices: dict[str, Champion] = field(default_factory=dict)


def read_training_summary(made: Artifact) -> dict[str, Any]:
    """What is known of a training: ``step``, ``epoch``, ``losses``, ``bands``, ``seen``, ``parameters``, ``layers``,
    ``seconds``, ``pictures``, ``upscaled``, ``set_aside``."""
    return json.loads((made.folder / SUMMARY_FILE).read_text())


def training_curves(summary: Mapping[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Curve by name, as (step, value): ``loss``, the same by band of times, and what was seen on the way."""
    found = {"loss": list(enumerate(summary["losses"], 1))}
    for name, losses in summary["bands"].items():
        found[f"loss/{name}"] = [(step, loss) for step, loss in enumerate(losses, 1) if loss is not None]
    for row in summary["seen"]:
        for name, value in row.items():
            if name.startswith("validation"):
                found.setdefault(name, []).append((row["step"], value))
    return found


def sample_images(made: Artifact, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was drawn on the way: ``{"count", "step", "epoch", "images": [path, ...]}``, in order."""
    return [
        {
            **{name: row[name] for name in ("count", "step", "epoch")},
            "images": [
                str(made.folder / SAMPLES_DIR / f"{row['count']:g}" / f"{number:02d}.png")
                for number in range(row["samples"])
            ],
        }
        for row in summary["seen"]
        if "samples" in row and (made.folder / SAMPLES_DIR).is_dir()
    ]


def caption_rows(concept: CaptionedConcept, strategy: str) -> list[dict[str, str]]:
    """A concept's captions as a table."""
    return [
        {"picture": path.name, "strategy": strategy, "caption": caption}
        for path, caption in zip(concept.images, concept.captions[strategy], strict=True)
    ]


def code_commit(project: Path) -> str:
    """The commit of the code, with a mark when the tree was changed; "unknown" outside a repository."""
    command = ["git", "-C", str(project), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def report_payload(
    experiment: Experiment,
    version: DataVersion,
    models: ModelRefs,
    captioned: list[CaptionedConcept],
    outcome: StudyOutcome,
    seconds: float,
    *,
    project: Path,
) -> dict[str, Any]:
    """What `lycoris.report.render` takes."""
    from lycoris.metrics import describe_metrics

    adapters = [_adapter_record(cell, one, outcome) for cell, one in outcome.runs.items()]
    adapters += [{"name": cell.name, **_run_fields(cell), "error": error} for cell, error in outcome.failures.items()]
    return {
        "title": f"Study {experiment.name}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": redact(" ".join(["lycoris", *sys.argv[1:]])),
        "seconds": seconds,
        "data_version": version.hash,
        "commit": code_commit(project),
        "base": {"name": models.base[0], "digest": models.base[1]},
        "settings": experiment.model_dump(mode="json"),
        "hardware": describe_hardware(),
        "rule": CHAMPION_RULE,
        "tracking": tracking_links(outcome.server, outcome.parent_run),
        "concepts": [concept_record(concept) for concept in captioned],
        "metrics": describe_metrics(),
        "bases": [
            {"concept": concept, "captions": strategy, "drawings": _merge_images(made)}
            for (concept, strategy), made in outcome.base_images.items()
        ],
        "adapters": adapters,
    }


def describe_hardware() -> str:
    """What a run ran on."""
    import os

    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"{len(os.sched_getaffinity(0))} CPU cores ({platform.machine()})"


def concept_record(concept: CaptionedConcept) -> dict[str, Any]:
    """A concept as the report takes it."""
    return {
        "name": concept.name,
        "category": concept.category,
        "trigger": concept.trigger,
        "class_noun": concept.class_noun,
        "description": concept.description,
        "references": [str(path) for path in concept.images],
        "captions": {name: list(texts) for name, texts in concept.captions.items()},
        "inherent": [entry["tag"] for entry in concept.concept_tags if entry["inherent"]],
    }


def _merge_images(made: list[Artifact]) -> dict[str, Any]:
    return {kind: some for stage in made for kind, some in image_records(stage).items()}


def _run_fields(cell: RunSpec) -> dict[str, Any]:
    return {
        "concept": cell.concept,
        "algorithm": cell.algorithm,
        "captions": cell.strategy,
        "seed": cell.seed,
        "checkpoint": None if cell.checkpoint is None else f"{cell.checkpoint_unit} {cell.checkpoint}",
    }


def _adapter_record(cell: RunSpec, run: RunOutcome, outcome: StudyOutcome) -> dict[str, Any]:
    choice = outcome.choices.get(cell.concept)
    champion = choice is not None and choice.adapter == cell.name
    return {
        "name": cell.name,
        **_run_fields(cell),
        "file": str(run.file),
        "bytes": run.file.stat().st_size,
        "parameters": run.summary["parameters"],
        "pictures": run.summary["pictures"],
        "set_aside": run.summary["set_aside"],
        "run_id": run.logged_run.run_id,
        "cached": run.cached,
        "champion": champion,
        "reason": choice.reason if choice is not None and champion else None,
        "seconds": {"train": run.summary["seconds"], "draw": run.images.seconds},
        "efficiency": run_costs(run),
        **_curve_fields(cell, run),
        "settings": dict(run.settings),
        "scores": {record["name"]: record for record in run.scores.records},
        "drawings": image_records(run.images),
    }


def run_costs(run: RunOutcome) -> dict[str, float | None]:
    """What an adapter costs, by the names of `lycoris.analysis.statistics.measures.COSTS`; None where that was not
    measured."""
    alone = run.summary.get("at_once") == 1
    found = (
        run.summary["seconds"],
        run.summary.get("peak_memory") if alone else None,
        run.file.stat().st_size,
        seconds_per_image(run.images),
    )
    return dict(zip(COSTS, found, strict=True))


def _cost_scores(run: RunOutcome) -> list[dict[str, Any]]:
    """What an adapter costs, as scores of a dimension beside the five."""
    return [
        {"name": name, "value": value, "dimension": EFFICIENCY, "higher_is_better": False}
        for name, value in run_costs(run).items()
        if value is not None
    ]


def _curve_fields(cell: RunSpec, run: RunOutcome) -> dict[str, Any]:
    """A training's curves and samples, at its end; its checkpoints have parts of them."""
    if cell.checkpoint is not None:
        return {"losses": []}
    found = training_curves(run.summary)
    return {
        "losses": run.summary["losses"],
        "bands": run.summary["bands"],
        "validation": found.get("validation", []),
        "samples": sample_images(run.adapter, run.summary),
        "unit": cell.checkpoint_unit,
    }


def write_scores_table(outcome: StudyOutcome, out: Path, *, score_costs: bool = False) -> Path:
    """Every score of every adapter as a CSV file, one row a score; on request with what each adapter costs.

    How long an adapter was trained stands under ``epoch`` where every training's length is in epochs, else under
    ``steps``.
    """
    import pandas as pd

    from lycoris.report.shared.templates import atomic_write_text

    in_epochs = all(cell.checkpoint_unit == "epoch" for cell in outcome.runs)
    rows = [
        {
            "concept": cell.concept,
            "category": one.concept.category,
            "config": cell.algorithm,
            **{name: one.settings.get(name) for name in SETTING_COLUMNS if name in one.settings or name != "pictures"},
            "learning_rate": one.settings["training"]["learning_rate"],
            "captions": cell.strategy,
            "seed": cell.seed,
            **(
                {"epoch": cell.checkpoint or one.settings["training"]["epochs"]}
                if in_epochs
                else {"steps": one.summary["step"]}
            ),
            "run_id": one.logged_run.run_id,
            **record,
        }
        for cell, one in outcome.runs.items()
        for record in [*one.scores.records, *(_cost_scores(one) if score_costs else [])]
    ]
    return atomic_write_text(pd.DataFrame(rows).to_csv(index=False), out)


def write_study(study: Mapping[str, Any], out: Path) -> Path:
    """What the report was made of, as a file of JSON; it appears whole or not at all."""
    from lycoris.report.shared.templates import atomic_write_text

    return atomic_write_text(json.dumps(study, ensure_ascii=False, default=str), out)


def result_summary(outcome: StudyOutcome, page: Path, version: DataVersion, seconds: float) -> dict[str, Any]:
    """What `lycoris run --json` prints."""
    adapters: list[dict[str, Any]] = [
        {
            **_run_fields(cell),
            "file": str(one.file.resolve()),
            "run_id": one.logged_run.run_id,
            "step": one.summary["step"],
            "epoch": one.summary["epoch"],
            "scores": {record["name"]: record["value"] for record in one.scores.records},
            "base_scores": {record["name"]: record["base"] for record in one.scores.records},
            "cached": one.cached,
            "set_aside": one.summary["set_aside"],
        }
        for cell, one in outcome.runs.items()
    ]
    adapters += [{**_run_fields(cell), "error": error} for cell, error in outcome.failures.items()]
    return {
        "report": str(page.resolve()),
        "data_version": version.hash,
        "seconds": round(seconds, 1),
        "adapters": adapters,
    }
