"""How long the steps of a study take on this machine: from what its store has, or from a short trial."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.config.experiment import AdapterConfig, Experiment
from lycoris.cache.store import RECORD_FILE

MAX_CACHE_ENTRIES = 200
"""Stages of a kind that are looked at, the newest."""
TRIAL_STEPS = 3
"""Training steps of each algorithm, and pictures, in a trial."""
NETWORK_SETTINGS = ("algorithm", "preset", "rank", "alpha", "factor")


@dataclass
class Timings:
    """What was measured.

    Attributes:
        steps: label of an adapter -> seconds of one training step.
        picture: seconds to draw one picture.
        look: seconds for all encoders to see one picture.
        score: seconds to score one adapter from what was seen.
        bytes: of one drawing's file.
        sources: in words, what the figures are from.
    """

    step_seconds: dict[str, float] = field(default_factory=dict)
    image_seconds: float | None = None
    feature_seconds: float | None = None
    score_seconds: float | None = None
    image_bytes: float | None = None
    sources: list[str] = field(default_factory=list)

    def is_complete(self, adapters: Sequence[AdapterConfig]) -> bool:
        """Whether nothing is left to be tried."""
        rest = (self.image_seconds, self.feature_seconds, self.score_seconds, self.image_bytes)
        return None not in rest and all(adapter.label in self.step_seconds for adapter in adapters)


def measure_timings(experiment: Experiment, base_digest: str) -> Timings:
    """Seconds and bytes of everything that an experiment does, tried where nothing was measured before.

    Raises:
        InputError: the base or another network cannot be opened.
    """
    found = timings_from_cache(experiment, base_digest)
    if not found.is_complete(experiment.algorithms):
        benchmark_steps(experiment, found)
    return found


def timings_from_cache(experiment: Experiment, base_digest: str) -> Timings:
    """What an experiment's store says of the same base; empty where there is none."""
    store, found = experiment.output / "store", Timings()
    by_settings: dict[str, list[float]] = {}
    for folder, inputs, _ in _cache_entries(store, "adapter"):
        if inputs["base"] == base_digest and "after" not in inputs:
            facts = json.loads((folder / "training.json").read_text())
            if facts["step"] and facts["seconds"]:
                by_settings.setdefault(_speed_key(inputs["settings"]), []).append(facts["seconds"] / facts["step"])
    for adapter in experiment.algorithms:
        if known := by_settings.get(_speed_key(experiment.adapter_settings(adapter))):
            found.step_seconds[adapter.label] = statistics.median(known)
    drawn: dict[str, int] = {}
    seconds: list[float] = []
    sizes: list[float] = []
    for folder, inputs, took in _cache_entries(store, "images"):
        pictures = list(folder.glob("*/*.png"))
        drawn[folder.name] = len(pictures)
        same = {name: value for name, value in experiment.sampling_settings().items() if name != "batch_size"}
        if pictures and inputs["base"] == base_digest and inputs["sampling"] == same:
            seconds.append(took / len(pictures))
            sizes.append(statistics.mean(picture.stat().st_size for picture in pictures[:20]))
    looks = [
        took / count
        for _, inputs, took in _cache_entries(store, "features")
        if (count := sum(drawn.get(name, 0) for name in inputs["generated"]))
    ]
    scores = [took for _, _, took in _cache_entries(store, "scores")]
    found.image_seconds, found.image_bytes = _median(seconds), _median(sizes)
    found.feature_seconds, found.score_seconds = _median(looks), _median(scores)
    if trained := sum(map(len, by_settings.values())):
        found.sources.append(f"{trained} trainings and {len(seconds)} sets of drawings in `{store}`")
    return found


def _cache_entries(store: Path, name: str) -> Iterator[tuple[Path, Mapping[str, Any], float]]:
    """Folder, inputs and seconds of the newest stages of a kind."""
    files = sorted(store.glob(f"{name}/*/{RECORD_FILE}"), key=lambda file: file.stat().st_mtime)[-MAX_CACHE_ENTRIES:]
    for file in files:
        record = json.loads(file.read_text())
        yield file.parent, record["inputs"], record["seconds"]


def _speed_key(settings: Mapping[str, Any]) -> str:
    """What decides how long a step takes."""
    training = settings["training"]
    names = ("batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "compile", "optimizer")
    return json.dumps([[settings.get(name) for name in NETWORK_SETTINGS], [training.get(name) for name in names]])


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def benchmark_steps(experiment: Experiment, timings: Timings) -> None:
    """Fill in what is missing by doing a little of it: some training steps and pictures, seen and scored.

    One size of each algorithm is tried, others are taken to be as quick. On a CPU it is processor time that counts, so
    that a machine which is busy with something else does not look slow.
    """
    import torch

    import lycoris
    from lycoris.bases import open_base
    from lycoris.bases.sampling import generate
    from lycoris.data.concepts import load_concepts
    from lycoris.data.images import read_image
    from lycoris.encoders import open_encoder, open_style_encoder
    from lycoris.metrics import GeneratedImages, PromptSpec, compare, encode, encode_references
    from lycoris.training import Example, TrainingSettings, train

    clock = time.monotonic
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # as each process of a study does
        clock = time.process_time
    base = open_base(experiment.base, device="auto")
    concept = load_concepts(experiment.data_folder(), experiment.concepts_file)[0]
    examples = [Example(picture.path, f"a {concept.trigger}") for picture in concept.images]
    small = base.device.type == "cpu" and experiment.base != "pocket"  # one picture at a time is slow enough there
    by_algorithm: dict[str, float] = {}
    for adapter in experiment.algorithms:
        if adapter.label in timings.step_seconds:
            continue
        if adapter.algorithm not in by_algorithm:
            settings = experiment.adapter_settings(adapter)
            batch = settings["training"].get("batch_size", 1)
            asked = {
                **settings["training"],
                "batch_size": 1 if small else batch,
                "warmup_steps": 0,
                "steps": TRIAL_STEPS,
            }
            asked.pop("epochs", None)
            options = {name: settings[name] for name in NETWORK_SETTINGS if settings.get(name) is not None}
            network = lycoris.attach(base.parts, **options)
            began, began_by_clock = time.monotonic(), clock()
            result = train(base, network, examples, TrainingSettings(**asked), seed=0)
            share = min(1.0, (clock() - began_by_clock) / (time.monotonic() - began))
            network.detach()
            by_algorithm[adapter.algorithm] = result.seconds * share / TRIAL_STEPS * (batch if small else 1)
        timings.step_seconds[adapter.label] = by_algorithm[adapter.algorithm]
    count = 1 if small else TRIAL_STEPS
    texts, seeds = [f"a {concept.trigger}"] * count, list(range(count))
    sampling = {name: value for name, value in experiment.sampling_settings().items() if name != "seed"}
    began = clock()
    pictures = generate(base, texts, seeds, **sampling)
    timings.image_seconds = timings.image_seconds or (clock() - began) / count
    with tempfile.TemporaryDirectory() as folder:
        for number, picture in enumerate(pictures):
            picture.save(Path(folder) / f"{number}.png", optimize=True)
        files = list(Path(folder).glob("*.png"))
        timings.image_bytes = timings.image_bytes or statistics.mean(file.stat().st_size for file in files)
    eyes = [open_encoder(each, device="auto") for each in experiment.encoders]
    style = open_style_encoder(experiment.style_encoder, device="auto")
    asked_for = [PromptSpec(texts[0], texts[0], seed) for seed in seeds]
    drawings = {"style": GeneratedImages("style", pictures, asked_for)}
    began = clock()
    seen = encode(drawings, eyes, style, category=concept.category)
    timings.feature_seconds = timings.feature_seconds or (clock() - began) / count
    some = [read_image(each.path) for each in concept.images[:4]]
    known = encode_references(some, eyes, style, category=concept.category)
    began = clock()
    compare(known, seen, seen, category=concept.category)
    timings.score_seconds = timings.score_seconds or 4 * (clock() - began)  # of one prompt type; a study has about four
    timings.sources.append(
        f"a trial here of {', '.join(by_algorithm) or 'drawing'}: {TRIAL_STEPS} training steps each"
        + (" at batch 1" if small else "")
        + f", {count} picture{'s' * (count > 1)} drawn and scored"
    )
