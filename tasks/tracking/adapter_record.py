"""Everything that is logged of one adapter, as MLflow's parameters, metrics, tags and descriptions."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.analysis.text.formatting import decimal_places, format_interval, format_number
from lycoris.cache.integrity import file_digest
from lycoris.safety.redaction import redact, redact_values
from lycoris.terms import HEADLINE_SCORES
from tasks.artifacts import ModelRef, RunSpec
from tasks.tracking.live_curves import LIVE_TAG
from tasks.tracking.model_package import absolute_base
from tasks.tracking.models import KEY_TAG
from tasks.tracking.runs import flatten
from tasks.trainings import AdapterSettings, TrainingSummary

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from lycoris.metrics import Score

LINEAGE_TAG = "lineage"
"""Tag of a version: what else is known of it, as JSON values."""


@dataclass(frozen=True)
class AdapterRun:
    """Everything that is logged of one adapter.

    Attributes:
        key: hash of everything its scores depend on.
        spec: which adapter of the study.
        curves: metric -> (step, value) in order.
        samples: ``{"step", "images"}`` records of images generated during training.
        captions: rows of the caption table.
        prompts: rows of the table of prompts that it was scored with.
        file: the safetensors file.
        contact_sheet: an overview of its images.
        base: model that the adapter belongs to.
        lineage: further facts, such as the commit and content keys.
        trained_at: when its training ended, in seconds since 1970; None if that is unknown.
    """

    key: str
    spec: RunSpec
    settings: AdapterSettings
    summary: TrainingSummary
    curves: Mapping[str, Sequence[tuple[int, float]]]
    samples: Sequence[Mapping[str, Any]]
    scores: Sequence[Score]
    captions: Sequence[Mapping[str, str]]
    file: Path
    contact_sheet: Path
    base: ModelRef
    lineage: Mapping[str, str]
    trained_at: float | None = None
    prompts: Sequence[Mapping[str, Any]] = ()

    @property
    def tags(self) -> dict[str, Any]:
        """Of the run and of the registered version: what one filters by."""
        spec = self.spec
        checkpoint = {} if spec.checkpoint is None else {"checkpoint": f"{spec.checkpoint_unit} {spec.checkpoint}"}
        commit = {"commit": self.lineage["commit"]} if "commit" in self.lineage else {}
        return {
            KEY_TAG: self.key,
            "algorithm": spec.algorithm,
            "captions": spec.strategy,
            "seed": spec.seed,
            **commit,
            **checkpoint,
            **self.live_tags,
            **({} if self.summary.continued_from is None else {"continued_from": self.summary.continued_from}),
        }

    @property
    def live_tags(self) -> dict[str, str]:
        """The tag of the run that showed the training; a checkpoint has none."""
        is_shown = self.spec.checkpoint is None and "adapter.key" in self.lineage
        return {LIVE_TAG: self.lineage["adapter.key"]} if is_shown else {}

    def version_tags(self, run_id: str) -> dict[str, Any]:
        """Of the registered version beside `tags`; `LINEAGE_TAG` holds what people rarely filter by."""
        lineage = {
            **{name: value for name, value in self.lineage.items() if name != "commit"},
            "run": run_id,
            "base": absolute_base(self.base.source),
            **({"precision": self.base.options.precision} if self.base.options.precision else {}),
            "adapter.file": self.file.name,
            "adapter.sha256": file_digest(self.file),
        }
        return {
            LINEAGE_TAG: json.dumps(redact_values(lineage), sort_keys=True),
            "settings": json.dumps(redact_values(self.settings.as_dict()), sort_keys=True),
            "scores": json.dumps({score.name: _round(score.value) for score in self.scores}),
        }

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the run."""
        spec = self.spec
        return {
            "concept": spec.concept,
            "captions": spec.strategy,
            "seed": spec.seed,
            "step": self.summary.step,
            "epoch": self.summary.epoch,
            **{f"precision.{part}": value for part, value in self.base.options.precision.items()},
            **flatten(self.settings.as_dict()),
        }

    @property
    def description(self) -> str:
        """What it is and how it scored, as Markdown."""
        lines = [
            f"**{self.spec.label}**, trained on {self.summary.image_count} images in {self.summary.step} steps "
            f"({self.summary.seconds:.0f} s).",
            *self._caption_sources,
            "",
            "| dimension | score | value | base |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {dimension} | {score.name} | {_text(score.value, score.low, score.high)} | {_text(score.base)} |"
            for dimension, headline in HEADLINE_SCORES.items()
            for score in self.scores
            if score.name.startswith(f"{headline}/")
        ]
        return redact("\n".join(lines))

    @property
    def _caption_sources(self) -> list[str]:
        """By which models the images were captioned, where the user's captions did not do it."""
        names = [name for name in ("tagger", "captioner", "instruction") if name in self.lineage]
        return [f"Captions: {', '.join(f'{name} `{self.lineage[name]}`' for name in names)}."] if names else []

    def period(self, start: int | None = None) -> tuple[int, int]:
        """When its training began and ended, in milliseconds.

        Args:
            start: where it is known already; by default the training's length before its end, or before now.
        """
        duration = int(self.summary.seconds * 1000)
        if start is None:
            start = int((self.trained_at or time.time()) * 1000) - duration
        return start, start + duration

    def metrics(self, start: int, end: int, logged: Mapping[str, Set[int]]) -> list[Metric]:
        """Curves over the time of the training, and scores with their intervals at its end.

        Args:
            start: of the training, in milliseconds.
            end: of the training.
            logged: metric -> steps whose points the run has already.
        """
        from mlflow.entities import Metric

        def time_of(step: int) -> int:
            return start + round((end - start) * min(step / self.summary.step, 1)) if self.summary.step else end

        metrics = [
            Metric(name, float(value), time_of(step), step)
            for name, points in self.curves.items()
            for step, value in points
            if step not in logged.get(name, ())
        ]
        for score in self.scores:
            named = {
                "": score.value,
                "base/": score.base,
                "difference/": score.difference,
                "low/": score.low,
                "high/": score.high,
                "difference-low/": score.difference_low,
                "difference-high/": score.difference_high,
            }
            metrics += [
                Metric(f"{prefix}{score.name}", float(value), end, 0)
                for prefix, value in named.items()
                if value is not None
            ]
        return metrics


def headline_metrics(scores: Mapping[str, Sequence[Score]]) -> dict[str, float]:
    """The scores by which concepts are summed up: ``best/<concept>/<score>`` of the best adapter of each.

    Args:
        scores: concept -> the scores of its best adapter.
    """
    return {
        f"best/{concept}/{score.name}": score.value
        for concept, some in scores.items()
        for headline in HEADLINE_SCORES.values()
        for score in some
        if score.name.startswith(f"{headline}/") and score.value is not None
    }


def _text(value: float | None, low: float | None = None, high: float | None = None) -> str:
    if value is None:
        return "–"
    digits = decimal_places((value, low, high))
    return f"{format_number(value, digits)} {format_interval(low, high, digits)}".rstrip()


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
