"""What a report is made of: the keys of the study that :func:`lycoris.report.render` takes.

A plain dict read from JSON does as well. Every part may be missing or empty, except the study's title.
"""

from __future__ import annotations

from typing import Any, TypedDict


class GeneratedImage(TypedDict, total=False):
    """One drawn picture; pictures of one concept are compared where ``prompt`` and ``seed`` agree."""

    image: str | None
    prompt: str
    seed: int


class BaseRecord(TypedDict, total=False):
    """The model that everything is compared with."""

    name: str
    digest: str


class TrackingRecord(TypedDict, total=False):
    """Where the runs are tracked: ``address`` as MLflow takes it, ``experiment``, and the study's own ``run``."""

    address: str
    experiment: str
    run: str


class ConceptRecord(TypedDict, total=False):
    """A concept as it was taught: ``captions`` maps a tag strategy to one caption a reference, in order."""

    name: str
    category: str
    trigger: str
    class_noun: str
    description: str
    references: list[str]
    captions: dict[str, list[str]]
    inherent: list[str]


class MetricRecord(TypedDict, total=False):
    """What a metric says; a score is named ``<metric>/<prompt type>/<encoder>``."""

    dimension: str
    higher_is_better: bool
    range: tuple[float | None, float | None]
    about: str


class ScoreRecord(TypedDict, total=False):
    """A score with its 95 % interval, the base's, and the paired difference; ``note`` says why one is missing."""

    value: float | None
    low: float | None
    high: float | None
    base: float | None
    base_low: float | None
    base_high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    note: str


class BaseImages(TypedDict, total=False):
    """What the untouched base drew with the prompts of one concept under one tag strategy, by prompt type."""

    concept: str
    captions: str
    drawings: dict[str, list[GeneratedImage]]


class TrainingSamples(TypedDict, total=False):
    """What was drawn while an adapter was trained, after ``count`` of the training's ``unit``."""

    count: float
    images: list[str]


class AdapterRecord(TypedDict, total=False):
    """One adapter of the study; where its run failed, ``error`` stands in place of the results.

    ``bytes`` is the file's size, ``seconds`` has ``train`` and ``draw``, ``losses`` is one number a step,
    ``reason`` why a champion is one, ``pictures`` how many it was trained on; ``set_aside`` maps the paths of those
    that could not be used to what is wrong with them. ``checkpoint``, such as "epoch 10", tells where in its training
    it was taken, if not at the end; curves and samples stand at the end's. ``bands`` has the losses by band of noise,
    ``validation`` (step, loss) pairs, ``unit`` is "epoch" or "step".
    """

    name: str
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
    losses: list[float]
    bands: dict[str, list[float | None]]
    validation: list[tuple[int, float]]
    samples: list[TrainingSamples]
    settings: dict[str, Any]
    scores: dict[str, ScoreRecord]
    drawings: dict[str, list[GeneratedImage]]
    error: str


class StudyRecord(TypedDict, total=False):
    """Everything a report shows; ``rule`` says how champions are chosen, ``seconds`` is the wall-clock time."""

    title: str
    created: str
    command: str
    seconds: float
    data_version: str
    commit: str
    base: BaseRecord
    settings: dict[str, Any]
    hardware: str
    rule: str
    tracking: TrackingRecord
    concepts: list[ConceptRecord]
    metrics: dict[str, MetricRecord]
    bases: list[BaseImages]
    adapters: list[AdapterRecord]
