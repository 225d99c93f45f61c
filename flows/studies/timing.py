"""How long the steps of an experiment take on this machine, as recorded in its store."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flows.config.adapter import AdapterConfig
from flows.config.experiment import Experiment
from lycoris.analysis.text.formatting import counted
from lycoris.cache.store import RECORD_FILE
from tasks.trainings import AdapterSettings, TrainingSummary

MAX_CACHE_ENTRIES = 200
"""How many stages of a kind are read, newest first."""
SPEED_SETTINGS = ("batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "compile", "optimizer")


@dataclass
class Timings:
    """Measured times and sizes; None where nothing was measured.

    Attributes:
        step_seconds: Label of an adapter -> seconds of one training step.
        image_seconds: Seconds to generate one image.
        feature_seconds: Seconds to encode one image with all encoders.
        score_seconds: Seconds to compute the scores of one adapter from its features.
        image_bytes: Size of the file of one image.
        sources: Where the figures come from, in words.
    """

    step_seconds: dict[str, float] = field(default_factory=dict)
    image_seconds: float | None = None
    feature_seconds: float | None = None
    score_seconds: float | None = None
    image_bytes: float | None = None
    sources: list[str] = field(default_factory=list)

    def is_complete(self, adapters: Sequence[AdapterConfig]) -> bool:
        """Whether everything was measured for these adapters."""
        others = (self.image_seconds, self.feature_seconds, self.score_seconds, self.image_bytes)
        return None not in others and all(adapter.label in self.step_seconds for adapter in adapters)


def timings_from_cache(experiment: Experiment, base_digest: str) -> Timings:
    """Return the times recorded in the store of an experiment for the same base model."""
    store, timings = experiment.output / "store", Timings()
    by_settings: dict[str, list[float]] = {}
    for folder, inputs, _ in _cache_entries(store, "adapter"):
        if inputs["base"] == base_digest and "after" not in inputs:
            summary = TrainingSummary.read(folder)
            if summary.step and summary.seconds:
                key = _speed_key(AdapterSettings.from_dict(inputs["settings"]))
                by_settings.setdefault(key, []).append(summary.seconds / summary.step)
    for adapter in experiment.algorithms:
        if measured := by_settings.get(_speed_key(experiment.adapter_settings(adapter))):
            timings.step_seconds[adapter.label] = statistics.median(measured)
    sampling = asdict(experiment.sampling_settings())
    del sampling["batch_size"]
    image_counts: dict[str, int] = {}
    image_seconds: list[float] = []
    image_bytes: list[float] = []
    for folder, inputs, seconds in _cache_entries(store, "images"):
        images = list(folder.glob("*/*.png"))
        image_counts[folder.name] = len(images)
        if images and inputs["base"] == base_digest and inputs["sampling"] == sampling:
            image_seconds.append(seconds / len(images))
            image_bytes.append(statistics.mean(image.stat().st_size for image in images[:20]))
    feature_seconds = [
        seconds / count
        for _, inputs, seconds in _cache_entries(store, "features")
        if (count := sum(image_counts.get(name, 0) for name in inputs["generated"]))
    ]
    timings.image_seconds, timings.image_bytes = _median(image_seconds), _median(image_bytes)
    timings.feature_seconds = _median(feature_seconds)
    timings.score_seconds = _median([seconds for _, _, seconds in _cache_entries(store, "scores")])
    if trainings := sum(map(len, by_settings.values())):
        timings.sources.append(
            f"{counted(trainings, 'training')} and {counted(len(image_seconds), 'set')} of images in `{store}`"
        )
    return timings


def _cache_entries(store: Path, stage: str) -> Iterator[tuple[Path, Mapping[str, Any], float]]:
    """Yield folder, inputs and seconds of the newest entries of a stage."""
    files = sorted(store.glob(f"{stage}/*/{RECORD_FILE}"), key=lambda file: file.stat().st_mtime)[-MAX_CACHE_ENTRIES:]
    for file in files:
        record = json.loads(file.read_text())
        yield file.parent, record["inputs"], record["seconds"]


def _speed_key(settings: AdapterSettings) -> str:
    """Return a key of the settings that determine how long a training step takes."""
    return json.dumps([settings.network_options, [settings.training.get(name) for name in SPEED_SETTINGS]])


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
