"""Outcomes as programs and pages read them: the report's payload, the table of scores, and the JSON result."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from flows.runtime.environment import command_line, describe_hardware
from flows.steps.outcomes import RunOutcome, StudyOutcome, sample_images, training_curves
from flows.steps.strength import strength_record
from lycoris.analysis import CHAMPION_RULE
from lycoris.analysis.statistics.measures import EFFICIENCY
from lycoris.cache.atomic import atomic_write_text
from lycoris.safety.redaction import redact_values
from tasks.artifacts import CaptionedConcept, RunSpec
from tasks.generate import image_records
from tasks.models import ModelRefs
from tasks.tracking.runs import tracking_links
from tasks.trainings import times_label

if TYPE_CHECKING:
    from lycoris.report.run.schema import StudyRecord

SETTING_COLUMNS = ("algorithm", "preset", "rank", "alpha", "factor", "pictures")
"""The settings of an adapter in the table of scores; ``pictures`` only where an experiment sets it."""


def report_header(
    title: str, settings: Mapping[str, Any], models: ModelRefs, concepts: Iterable[CaptionedConcept], seconds: float
) -> dict[str, Any]:
    """Return the part of a report's payload that does not depend on adapters.

    Args:
        settings: The experiment or request, as JSON values.
    """
    from lycoris.metrics import describe_metrics

    return {
        "title": title,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(),
        "seconds": seconds,
        "base": {"name": models.base.source, "digest": models.base.digest},
        "settings": dict(settings),
        "hardware": describe_hardware(),
        "concepts": [_concept_record(concept) for concept in concepts],
        "metrics": describe_metrics(),
    }


def report_payload(header: Mapping[str, Any], outcome: StudyOutcome, *, commit: str) -> StudyRecord:
    """Return the outcome of a study as `lycoris.report.render` takes it."""
    adapters = [_adapter_record(spec, run, outcome) for spec, run in outcome.runs.items()]
    adapters += [{"name": spec.name, **_spec_fields(spec), "error": error} for spec, error in outcome.failures.items()]
    payload = {
        **header,
        "data_version": outcome.study.data_version.hash,
        "commit": commit,
        "rule": CHAMPION_RULE,
        "tracking": tracking_links(outcome.study),
        "bases": [
            {
                "concept": concept,
                "captions": strategy,
                "drawings": {
                    prompt_type: images
                    for artifact in artifacts
                    for prompt_type, images in image_records(artifact).items()
                },
            }
            for (concept, strategy), artifacts in outcome.base_images.items()
        ],
        "adapters": adapters,
    }
    return cast("StudyRecord", payload)


def _concept_record(concept: CaptionedConcept) -> dict[str, Any]:
    return {
        "name": concept.name,
        "category": concept.category,
        "trigger": concept.trigger,
        "class_noun": concept.class_noun,
        "description": concept.description,
        "references": [str(path) for path in concept.images],
        "captions": {name: list(texts) for name, texts in concept.captions.items()},
        "captioned_by": {name: dict(models) for name, models in concept.captioned_by.items()},
        "inherent": [entry["tag"] for entry in concept.concept_tags if entry["inherent"]],
    }


def _spec_fields(spec: RunSpec) -> dict[str, Any]:
    return {
        "concept": spec.concept,
        "algorithm": spec.algorithm,
        "captions": spec.strategy,
        "seed": spec.seed,
        "checkpoint": None if spec.checkpoint is None else f"{spec.checkpoint_unit} {spec.checkpoint}",
    }


def _adapter_record(spec: RunSpec, run: RunOutcome, outcome: StudyOutcome) -> dict[str, Any]:
    choice = outcome.choices.get(spec.concept)
    is_champion = choice is not None and choice.adapter == spec.name
    return {
        "name": spec.name,
        **_spec_fields(spec),
        "file": str(run.file),
        "bytes": run.file.stat().st_size,
        "parameters": run.summary.parameters,
        "pictures": run.summary.image_count,
        "set_aside": run.summary.skipped_images,
        "run_id": run.logged_run.run_id,
        "cached": run.cached,
        "champion": is_champion,
        "reason": choice.reason if choice is not None and is_champion else None,
        **({"strength": strength_record(outcome.sweeps[spec])} if spec in outcome.sweeps else {}),
        "seconds": {"train": run.summary.seconds, "draw": run.images.seconds},
        "efficiency": run.costs,
        **_curve_fields(spec, run),
        "settings": run.settings.as_dict(),
        "scores": {score.name: asdict(score) for score in run.scores.records},
        "drawings": image_records(run.images),
    }


def _curve_fields(spec: RunSpec, run: RunOutcome) -> dict[str, Any]:
    """Return the curves and samples of a training with its final adapter; those of checkpoints are a part of them."""
    if spec.checkpoint is not None:
        return {"losses": []}
    return {
        "losses": run.summary.losses,
        "bands": run.summary.binned_losses,
        "validation": training_curves(run.summary).get("validation", []),
        "samples": sample_images(run.adapter, run.summary),
        "unit": spec.checkpoint_unit,
    }


def write_scores_table(outcome: StudyOutcome, out: Path, *, score_costs: bool = False) -> Path:
    """Write every score of every adapter as a CSV file, one row each; with `score_costs` also the costs.

    The column of the training length is ``epoch`` if the length of every training is in epochs, else ``steps``.
    """
    import pandas as pd

    in_epochs = all(spec.checkpoint_unit == "epoch" for spec in outcome.runs)
    rows = [
        {**_table_fields(spec, run, in_epochs), **score}
        for spec, run in outcome.runs.items()
        for score in [*map(asdict, run.scores.records), *(_cost_scores(run) if score_costs else [])]
    ]
    return atomic_write_text(out, pd.DataFrame(rows).to_csv(index=False))


def _table_fields(spec: RunSpec, run: RunOutcome, in_epochs: bool) -> dict[str, Any]:
    """Return the columns that are the same in all rows of an adapter."""
    settings = run.settings.as_dict()
    length = {"epoch": spec.checkpoint or run.settings.training["epochs"]} if in_epochs else {"steps": run.summary.step}
    return {
        "concept": spec.concept,
        "category": run.concept.category,
        "config": spec.algorithm,
        **{name: settings.get(name) for name in SETTING_COLUMNS if name in settings or name != "pictures"},
        "learning_rate": run.settings.training["learning_rate"],
        "captions": spec.strategy,
        **({"times": times} if (times := times_label(run.settings.training)) else {}),
        "seed": spec.seed,
        **length,
        "run_id": run.logged_run.run_id,
    }


def _cost_scores(run: RunOutcome) -> list[dict[str, Any]]:
    """Return the costs of an adapter as scores of a further dimension."""
    return [
        {"name": name, "value": value, "dimension": EFFICIENCY, "higher_is_better": False}
        for name, value in run.costs.items()
        if value is not None
    ]


def write_study(payload: Mapping[str, Any], out: Path) -> Path:
    """Write the payload of a report as a JSON file."""
    return atomic_write_text(out, json.dumps(redact_values(payload), ensure_ascii=False, default=str))


def result_summary(outcome: StudyOutcome, page: Path, seconds: float) -> dict[str, Any]:
    """Return the result of a study as `lycoris run --json` prints it."""
    adapters: list[dict[str, Any]] = [
        {
            **_spec_fields(spec),
            "file": str(run.file.resolve()),
            "run_id": run.logged_run.run_id,
            "step": run.summary.step,
            "epoch": run.summary.epoch,
            "scores": {score.name: score.value for score in run.scores.records},
            "base_scores": {score.name: score.base for score in run.scores.records},
            "cached": run.cached,
            "set_aside": run.summary.skipped_images,
            **({"strength": outcome.sweeps[spec].choice.value} if spec in outcome.sweeps else {}),
        }
        for spec, run in outcome.runs.items()
    ]
    adapters += [{**_spec_fields(spec), "error": error} for spec, error in outcome.failures.items()]
    return {
        "report": str(page.resolve()),
        "data_version": outcome.study.data_version.hash,
        "seconds": round(seconds, 1),
        "adapters": adapters,
    }
