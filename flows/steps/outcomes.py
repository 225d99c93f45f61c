"""The outcome of a study and of each of its adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lycoris.analysis import Champion
from lycoris.analysis.decisions.strength import StrengthChoice
from lycoris.analysis.statistics.measures import COSTS
from tasks.artifacts import Artifact, CaptionedConcept, RunSpec
from tasks.generate import seconds_per_image
from tasks.runtime.adapter_training import SAMPLES_DIR
from tasks.score import Scores
from tasks.tracking.adapter_runs import LoggedRun
from tasks.tracking.runs import StudyRun
from tasks.trainings import AdapterSettings, TrainingSummary


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of one adapter.

    Attributes:
        adapter: The trained adapter.
        images: The images generated with it.
        scores: The scores of these images.
        file: The exported adapter file.
        summary: What is known of its training.
        settings: What determined its training.
        logged_run: Its run in MLflow.
    """

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
        """Whether all stages were cached."""
        return self.adapter.cached and self.images.cached and self.scores.cached

    @property
    def costs(self) -> dict[str, float | None]:
        """Cost by its name in `lycoris.analysis.statistics.measures.COSTS`; None where it was not measured."""
        peak_memory = self.summary.peak_memory if self.summary.co_trained == 1 else None
        values = (self.summary.seconds, peak_memory, self.file.stat().st_size, seconds_per_image(self.images))
        return dict(zip(COSTS, values, strict=True))


@dataclass(frozen=True)
class StrengthSweep:
    """The strength sweep of an adapter.

    Attributes:
        choice: The recommended strength.
        images: Strength -> its images; at 1 those of the adapter's own evaluation, at 0 those of the base.
    """

    choice: StrengthChoice
    images: Mapping[float, Artifact]


@dataclass
class StudyOutcome:
    """The outcome of a study, filled as its adapters are evaluated.

    Attributes:
        study: Its run in MLflow.
        runs: The outcome of each adapter that could be evaluated.
        failures: The error of each of the others.
        base_images: Concept and caption strategy -> images of the base model.
        choices: Concept -> its best adapter.
        sweeps: The strength sweeps of adapters that have one.
    """

    study: StudyRun
    runs: dict[RunSpec, RunOutcome] = field(default_factory=dict)
    failures: dict[RunSpec, str] = field(default_factory=dict)
    base_images: dict[tuple[str, str], list[Artifact]] = field(default_factory=dict)
    choices: dict[str, Champion] = field(default_factory=dict)
    sweeps: dict[RunSpec, StrengthSweep] = field(default_factory=dict)

    @property
    def learned(self) -> dict[RunSpec, RunOutcome]:
        """The best adapters of the concepts whose best adapter has learned it."""
        names = {(concept, choice.adapter) for concept, choice in self.choices.items() if choice.beats_base}
        return {spec: run for spec, run in self.runs.items() if (spec.concept, spec.name) in names}


def training_curves(summary: TrainingSummary) -> dict[str, list[tuple[int, float]]]:
    """Return curves of (step, value) by name: ``loss``, the loss of each timestep bin, and validation losses."""
    curves = {"loss": list(enumerate(summary.losses, 1))}
    for name, losses in summary.binned_losses.items():
        curves[f"loss/{name}"] = [(step, loss) for step, loss in enumerate(losses, 1) if loss is not None]
    for record in summary.callback_records:
        for name, value in record.items():
            if name.startswith("validation"):
                curves.setdefault(name, []).append((record["step"], value))
    return curves


def sample_images(adapter: Artifact, summary: TrainingSummary) -> list[dict[str, Any]]:
    """Return the images generated during training: ``{"count", "step", "epoch", "images": [path, ...]}``, in order."""
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
    """Return the captions of a concept as rows of a table."""
    return [
        {"picture": path.name, "strategy": strategy, "caption": caption}
        for path, caption in zip(concept.images, concept.captions[strategy], strict=True)
    ]


def prompt_rows(concept: CaptionedConcept, strategy: str) -> list[dict[str, Any]]:
    """Return the prompts that an adapter is scored with as rows of a table."""
    return [
        {"prompt_type": kind, "prompt": prompt.text, "prompt_without_trigger": prompt.evaluation, "seed": prompt.seed}
        for kind, prompts in concept.prompts[strategy].items()
        for prompt in prompts
    ]
