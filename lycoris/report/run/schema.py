"""The record of a study: the keys of ``study.json``, which :func:`lycoris.report.render` takes.

Every part may be missing or empty, except the study's title.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict, cast

from lycoris.metrics.score import ScoreRecord


class GeneratedImage(TypedDict, total=False):
    """One generated image. Images of one concept are compared where ``prompt`` and ``seed`` agree."""

    image: str | None
    prompt: str
    seed: int


class BaseRecord(TypedDict, total=False):
    """The base model."""

    name: str
    digest: str


class TrackingRecord(TypedDict, total=False):
    """Where the runs are tracked: ``address`` as MLflow takes it, the ``experiment``, and the study's own ``run``."""

    address: str
    experiment: str
    run: str


class ConceptRecord(TypedDict, total=False):
    """A concept and its training data: ``captions`` maps a strategy to one caption per reference, in order.

    ``captioned_by`` maps it to the models that wrote those captions that the user has not, by ``tagger`` and
    ``captioner``, with their digests and the ``instruction``.
    """

    name: str
    category: str
    trigger: str
    class_noun: str
    description: str
    references: list[str]
    captions: dict[str, list[str]]
    captioned_by: dict[str, dict[str, str]]
    inherent: list[str]


class MetricRecord(TypedDict, total=False):
    """What a metric measures. A score is named ``<metric>/<prompt type>/<encoder>``."""

    dimension: str
    higher_is_better: bool
    range: tuple[float | None, float | None]
    about: str


class BaseImages(TypedDict, total=False):
    """Images of the base without an adapter for one concept and caption strategy, by prompt type."""

    concept: str
    captions: str
    drawings: dict[str, list[GeneratedImage]]


class TrainingSamples(TypedDict, total=False):
    """Images generated during training, after ``count`` epochs or steps."""

    count: float
    images: list[str]


class StrengthPoint(TypedDict, total=False):
    """An adapter at a strength, 0 for the base: its scaled ``score``, the raw ``dimensions``, and an image."""

    strength: float
    score: float
    dimensions: dict[str, float]
    image: str | None


class StrengthRecord(TypedDict, total=False):
    """The recommended strength with its interval, ``origin`` in a line, ``rule`` in full, and the strengths tried."""

    value: float
    low: float
    high: float
    origin: str
    rule: str
    points: list[StrengthPoint]


class AdapterRecord(TypedDict, total=False):
    """One adapter of the study; where its run failed, ``error`` stands in place of the results.

    ``bytes`` is the size of its file; ``seconds`` has ``train`` and ``draw`` (generation); ``losses`` has one number
    per step, ``bands`` the losses by timestep bin, ``validation`` (step, loss) pairs. ``pictures`` is the number of its
    training images, ``set_aside`` maps the paths of skipped ones to the reason. ``checkpoint``, such as "epoch 10",
    names a checkpoint before the end of training; curves and samples belong to the record of the end. ``reason`` says
    why a champion is one. ``label`` stands for algorithm and captions where they are not known. ``unit`` is "epoch" or
    "step".
    """

    name: str
    label: str
    concept: str
    algorithm: str
    captions: str
    seed: int
    checkpoint: str | None
    unit: str
    file: str
    bytes: int
    parameters: int
    pictures: int
    set_aside: dict[str, str]
    run_id: str
    cached: bool
    champion: bool
    reason: str | None
    seconds: dict[str, float]
    efficiency: dict[str, float | None]
    losses: list[float]
    bands: dict[str, list[float | None]]
    validation: list[tuple[int, float]]
    samples: list[TrainingSamples]
    settings: dict[str, Any]
    scores: dict[str, ScoreRecord]
    drawings: dict[str, list[GeneratedImage]]
    strength: StrengthRecord
    error: str


class StudyRecord(TypedDict, total=False):
    """Everything a report shows; ``rule`` says how champions are chosen, ``seconds`` is the wall-clock time.

    ``notes`` say what the models do not know of the images, and what is not computed.
    """

    title: str
    created: str
    command: str
    seconds: float
    data_version: str
    commit: str
    base: BaseRecord
    settings: dict[str, Any]
    notes: list[str]
    hardware: str
    fit: list[str]
    rule: str
    tracking: TrackingRecord | None
    concepts: list[ConceptRecord]
    metrics: dict[str, MetricRecord]
    bases: list[BaseImages]
    adapters: list[AdapterRecord]


def read_study_record(path: Path) -> StudyRecord:
    """The study record of a ``study.json``.

    Args:
        path: the file, as `flows.steps.outcomes` writes it.
    """
    return cast(StudyRecord, json.loads(path.read_text(encoding="utf-8")))
