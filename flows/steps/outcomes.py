"""The outcome of a study, and what is made of it: the report's payload, the table of scores, and the JSON result."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flows.config.experiment import Experiment
from lycoris.analysis import CHAMPION_RULE, Champion
from lycoris.analysis.statistics.measures import COSTS, EFFICIENCY
from lycoris.cache.atomic import atomic_write_text
from lycoris.safety.redaction import redact
from tasks.artifacts import AdapterSettings, Artifact, CaptionedConcept, RunSpec, TrainingSummary
from tasks.generate import image_records, seconds_per_image
from tasks.models import ModelRefs
from tasks.runtime.adapter_training import SAMPLES_DIR
from tasks.score import Scores
from tasks.tracking.runs import LoggedRun, StudyRun, tracking_links

if TYPE_CHECKING:
    from lycoris.report.run.schema import StudyRecord

SETTING_COLUMNS = ("algorithm", "preset", "rank", "alpha", "factor", "pictures")
"""Columns of the table of scores that are an adapter's settings; ``pictures`` only where an experiment sets it."""


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of one adapter."""

    concept: CaptionedConcept
    adapter: Artifact
    images: Artifact
    scores: Scores
    file: Path
    summary: TrainingSummary
    settings: AdapterSettings
    logged_run: LoggedRun

    @property
    def cached(self) -> bool:
        """Whether all its stages existed before."""
        return self.adapter.cached and self.images.cached and self.scores.cached


@dataclass
class StudyOutcome:
    """The outcome of a study, filled as its adapters are evaluated.

    Attributes:
        study: its run in MLflow.
        runs: outcomes of the adapters that could be evaluated.
        failures: what went wrong with the others.
        base_images: concept and caption strategy -> stages of the base's images.
        choices: concept -> its best adapter.
    """

    study: StudyRun
    runs: dict[RunSpec, RunOutcome] = field(default_factory=dict)
    failures: dict[RunSpec, str] = field(default_factory=dict)
    base_images: dict[tuple[str, str], list[Artifact]] = field(default_factory=dict)
    choices: dict[str, Champion] = field(default_factory=dict)


def training_curves(summary: TrainingSummary) -> dict[str, list[tuple[int, float]]]:
    """Curves by name, as (step, value): ``loss``, the loss of each timestep bin, and validation losses."""
    curves = {"loss": list(enumerate(summary.losses, 1))}
    for name, losses in summary.binned_losses.items():
        curves[f"loss/{name}"] = [(step, loss) for step, loss in enumerate(losses, 1) if loss is not None]
    for record in summary.callback_records:
        for name, value in record.items():
            if name.startswith("validation"):
                curves.setdefault(name, []).append((record["step"], value))
    return curves


def sample_images(adapter: Artifact, summary: TrainingSummary) -> list[dict[str, Any]]:
    """Images generated during training: ``{"count", "step", "epoch", "images": [path, ...]}`` records, in order."""
    folder = adapter.folder / SAMPLES_DIR
    return [
        {
            **{name: record[name] for name in ("count", "step", "epoch")},
            "images": [
                str(folder / f"{record['count']:g}" / f"{number:02d}.png") for number in range(record["samples"])
            ],
        }
        for record in summary.callback_records
        if "samples" in record and folder.is_dir()
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
    models: ModelRefs,
    concepts: Sequence[CaptionedConcept],
    outcome: StudyOutcome,
    *,
    seconds: float,
    commit: str,
) -> StudyRecord:
    """The study as `lycoris.report.render` takes it."""
    from lycoris.metrics import describe_metrics

    adapters = [_adapter_record(cell, one, outcome) for cell, one in outcome.runs.items()]
    adapters += [{"name": cell.name, **_run_fields(cell), "error": error} for cell, error in outcome.failures.items()]
    record = {
        "title": f"Study {experiment.name}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": redact(" ".join(["lycoris", *sys.argv[1:]])),
        "seconds": seconds,
        "data_version": outcome.study.data_version.hash,
        "commit": commit,
        "base": {"name": models.base.source, "digest": models.base.digest},
        "settings": experiment.model_dump(mode="json"),
        "hardware": describe_hardware(),
        "rule": CHAMPION_RULE,
        "tracking": tracking_links(outcome.study),
        "concepts": [concept_record(concept) for concept in concepts],
        "metrics": describe_metrics(),
        "bases": [
            {"concept": concept, "captions": strategy, "drawings": _merge_images(made)}
            for (concept, strategy), made in outcome.base_images.items()
        ],
        "adapters": adapters,
    }
    return cast("StudyRecord", record)


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
        "parameters": run.summary.parameters,
        "pictures": run.summary.image_count,
        "set_aside": run.summary.skipped_images,
        "run_id": run.logged_run.run_id,
        "cached": run.cached,
        "champion": champion,
        "reason": choice.reason if choice is not None and champion else None,
        "seconds": {"train": run.summary.seconds, "draw": run.images.seconds},
        "efficiency": run_costs(run),
        **_curve_fields(cell, run),
        "settings": run.settings.as_dict(),
        "scores": {score.name: asdict(score) for score in run.scores.records},
        "drawings": image_records(run.images),
    }


def run_costs(run: RunOutcome) -> dict[str, float | None]:
    """What an adapter costs, by the names of `lycoris.analysis.statistics.measures.COSTS`; None where that was not
    measured."""
    alone = run.summary.co_trained == 1
    found = (
        run.summary.seconds,
        run.summary.peak_memory if alone else None,
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
        "losses": run.summary.losses,
        "bands": run.summary.binned_losses,
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

    in_epochs = all(spec.checkpoint_unit == "epoch" for spec in outcome.runs)
    rows = [
        {**_table_fields(spec, run, in_epochs), **record}
        for spec, run in outcome.runs.items()
        for record in [*map(asdict, run.scores.records), *(_cost_scores(run) if score_costs else [])]
    ]
    return atomic_write_text(out, pd.DataFrame(rows).to_csv(index=False))


def _table_fields(spec: RunSpec, run: RunOutcome, in_epochs: bool) -> dict[str, Any]:
    """The columns of an adapter that are the same in all its rows."""
    settings = run.settings.as_dict()
    length = {"epoch": spec.checkpoint or run.settings.training["epochs"]} if in_epochs else {"steps": run.summary.step}
    return {
        "concept": spec.concept,
        "category": run.concept.category,
        "config": spec.algorithm,
        **{name: settings.get(name) for name in SETTING_COLUMNS if name in settings or name != "pictures"},
        "learning_rate": run.settings.training["learning_rate"],
        "captions": spec.strategy,
        "seed": spec.seed,
        **length,
        "run_id": run.logged_run.run_id,
    }


def write_study(study: Mapping[str, Any], out: Path) -> Path:
    """What the report was made of, as a file of JSON; it appears whole or not at all."""
    return atomic_write_text(out, json.dumps(study, ensure_ascii=False, default=str))


def result_summary(outcome: StudyOutcome, page: Path, seconds: float) -> dict[str, Any]:
    """The result of a study as `lycoris run --json` prints it."""
    adapters: list[dict[str, Any]] = [
        {
            **_run_fields(spec),
            "file": str(run.file.resolve()),
            "run_id": run.logged_run.run_id,
            "step": run.summary.step,
            "epoch": run.summary.epoch,
            "scores": {score.name: score.value for score in run.scores.records},
            "base_scores": {score.name: score.base for score in run.scores.records},
            "cached": run.cached,
            "set_aside": run.summary.skipped_images,
        }
        for spec, run in outcome.runs.items()
    ]
    adapters += [{**_run_fields(spec), "error": error} for spec, error in outcome.failures.items()]
    return {
        "report": str(page.resolve()),
        "data_version": outcome.study.data_version.hash,
        "seconds": round(seconds, 1),
        "adapters": adapters,
    }
