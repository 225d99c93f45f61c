"""A short benchmark of the steps of an experiment: a few training steps, and a few images generated and scored."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.config.experiment import Experiment
from flows.studies.timing import Timings, timings_from_cache
from lycoris.data.concepts import Concept, load_concepts
from lycoris.pocket import EMBEDDED_BASES
from tasks.trainings import AdapterSettings

if TYPE_CHECKING:
    from PIL import Image

    from lycoris.bases import Base

TRIAL_STEPS = 3
"""Training steps of each algorithm, and number of images."""
TYPICAL_PROMPT_TYPES = 4


@dataclass(frozen=True)
class _Trial:
    """What the benchmark runs on.

    Attributes:
        base: The opened base model.
        concept: The first concept of the data.
        clock: Processor time on a CPU, so that other work on the machine does not count; else wall-clock time.
        is_small: Whether one image at a time is slow enough: on a CPU, unless the base is the pocket.
    """

    experiment: Experiment
    base: Base
    concept: Concept
    clock: Callable[[], float]
    is_small: bool

    @property
    def image_count(self) -> int:
        """How many images are generated."""
        return 1 if self.is_small else TRIAL_STEPS


def measure_timings(experiment: Experiment, base_digest: str) -> Timings:
    """Return the times of all steps of an experiment; run a benchmark for those that no cached stage holds.

    Raises:
        InputError: The base or another model cannot be loaded.
    """
    timings = timings_from_cache(experiment, base_digest)
    if not timings.is_complete(experiment.algorithms):
        run_benchmark(experiment, timings)
    return timings


def run_benchmark(experiment: Experiment, timings: Timings) -> None:
    """Measure what is missing in `timings`.

    Each algorithm is measured at one size; other sizes are assumed to be as fast.
    """
    import torch

    from lycoris.bases import open_base

    clock = time.monotonic
    if not torch.cuda.is_available():
        torch.set_num_threads(1)  # as each worker process
        clock = time.process_time
    base = open_base(experiment.base, device="auto", **experiment.base_options().for_base)
    concept = load_concepts(experiment.data_folder(), experiment.concepts_file)[0]
    trial = _Trial(
        experiment, base, concept, clock, base.device.type == "cpu" and experiment.base not in EMBEDDED_BASES
    )
    algorithms: dict[str, float] = {}
    for adapter in experiment.algorithms:
        if adapter.label not in timings.step_seconds:
            if adapter.algorithm not in algorithms:
                algorithms[adapter.algorithm] = _training_step_seconds(trial, experiment.adapter_settings(adapter))
            timings.step_seconds[adapter.label] = algorithms[adapter.algorithm]
    _measure_evaluation(trial, _measure_generation(trial, timings), timings)
    timings.sources.append(
        f"a benchmark on this machine of {', '.join(algorithms) or 'generation'}: {TRIAL_STEPS} training steps each"
        + (" at batch 1" if trial.is_small else "")
        + f", {trial.image_count} image{'s' * (trial.image_count > 1)} generated and scored"
    )


def _training_step_seconds(trial: _Trial, settings: AdapterSettings) -> float:
    import lycoris
    from lycoris.training import Example, TrainingJob, TrainingSettings, train

    batch_size = settings.training.get("batch_size", 1)
    options = {
        **settings.training,
        "batch_size": 1 if trial.is_small else batch_size,
        "warmup_steps": 0,
        "steps": TRIAL_STEPS,
    }
    options.pop("epochs", None)
    examples = [Example(image.path, f"a {trial.concept.trigger}") for image in trial.concept.images]
    network = lycoris.attach(trial.base.parts, **settings.network_options)
    started, clock_started = time.monotonic(), trial.clock()
    result = train(trial.base, TrainingJob(network, examples, TrainingSettings(**options), seed=0))
    own_share = min(1.0, (trial.clock() - clock_started) / (time.monotonic() - started))
    network.detach()
    return result.seconds * own_share / TRIAL_STEPS * (batch_size if trial.is_small else 1)


def _measure_generation(trial: _Trial, timings: Timings) -> list[Image.Image]:
    """Generate images, and measure their time and the size of their files."""
    from lycoris.bases.sampling import generate

    count = trial.image_count
    sampling = trial.experiment.sampling_settings().generation
    started = trial.clock()
    prompts = [f"a {trial.concept.trigger}"] * count
    images = generate(trial.base, prompts, list(range(count)), sampling)
    timings.image_seconds = timings.image_seconds or (trial.clock() - started) / count
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(images):
            image.save(Path(folder) / f"{number}.png", optimize=True)
        sizes = [file.stat().st_size for file in Path(folder).glob("*.png")]
    timings.image_bytes = timings.image_bytes or statistics.mean(sizes)
    return images


def _measure_evaluation(trial: _Trial, images: Sequence[Image.Image], timings: Timings) -> None:
    """Measure the time to encode images and to compute scores."""
    from lycoris.data.images import read_image
    from lycoris.encoders import open_encoder, open_style_encoder
    from lycoris.metrics import GeneratedImages, PromptSpec, compare, encode, encode_references

    encoders = [open_encoder(name, device="auto") for name in trial.experiment.encoders]
    style = open_style_encoder(trial.experiment.style_encoder, device="auto")
    category, text = trial.concept.category, f"a {trial.concept.trigger}"
    prompts = [PromptSpec(text, text, seed) for seed in range(trial.image_count)]
    started = trial.clock()
    features = encode({"style": GeneratedImages("style", images, prompts)}, encoders, style, category=category)
    timings.feature_seconds = timings.feature_seconds or (trial.clock() - started) / trial.image_count
    references = [read_image(image.path) for image in trial.concept.images[:4]]
    reference_features = encode_references(references, encoders, style, category=category)
    started = trial.clock()
    compare(reference_features, features, features, category=category)
    timings.score_seconds = timings.score_seconds or TYPICAL_PROMPT_TYPES * (trial.clock() - started)
