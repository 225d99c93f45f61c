"""The plan of an experiment before it starts: trainings, images, time, storage, and what is cached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flows.config import monitoring
from flows.config.adapter import AdapterConfig
from flows.config.concepts import DataConcepts, select_concepts
from flows.config.experiment import Experiment
from flows.config.fitting import training_count
from flows.config.preflight_training import adapter_inputs
from flows.steps.grid import base_prompts, expand_grid, training_requests
from flows.studies.benchmark import measure_timings
from flows.studies.timing import Timings
from lycoris.analysis.text.formatting import counted
from lycoris.cache.keys import stage_key
from lycoris.cache.remembered import remember
from lycoris.cache.store import Store
from lycoris.errors import InputError

if TYPE_CHECKING:
    from tasks.artifacts import Prompts

BYTES_PER_PARAMETER = 4
"""Adapter files are float32."""
FILE_COPIES = 2
"""Each adapter is in the store and, with its scores, in the result folder."""
COPIES = "each file twice, in the store and in the result folder"


@dataclass(frozen=True)
class WorkCount:
    """The work of an experiment.

    Attributes:
        adapters: Trainings; checkpoints do not count.
        evaluations: Adapters that generate images and are scored, checkpoints included.
        images: Images of all evaluations and of the base model.
        remaining: Label of an adapter -> trainings that are not cached.
        cached_evaluations: Evaluations whose images are cached.
        cached_images: Images that are cached.
    """

    adapters: int
    evaluations: int
    images: int
    remaining: Mapping[str, int]
    cached_evaluations: int = 0
    cached_images: int = 0

    @property
    def cached_adapters(self) -> int:
        """Trainings that are cached."""
        return self.adapters - sum(self.remaining.values())


def describe_plan(experiment: Experiment) -> list[str]:
    """Describe what an experiment will do, in lines.

    Nothing is started, except for a short benchmark where no times were recorded before.

    Raises:
        InputError: The data folder or a concept does not exist.
    """
    concepts = select_concepts(experiment, experiment.data_folder())
    count = len(concepts.selected)
    work = count_work(experiment, count)
    per_adapter = experiment.images.total
    of_base = work.images - work.evaluations * per_adapter
    lines = [
        f"{counted(work.adapters, 'adapter')}: {_describe_grid(experiment, count)}",
        f"{work.images} images: {per_adapter} by each adapter, {of_base} by the base model",
    ]
    if sweep := count * sweep_image_count(experiment):
        lines.append(f"then up to {sweep} images by the champions, for a strength of each (`strengths=[]`: none)")
    try:
        if (experiment.output / "store" / "adapter").is_dir():
            work = subtract_cached(experiment, work, concepts)
            lines.append(
                f"in the store: {work.cached_adapters} of {work.adapters} adapters, "
                f"{work.cached_images} of {work.images} images"
            )
        mean_images = sum(len(concept.images) for concept in concepts.selected) / count
        return [*lines, *estimate_cost(experiment, work, mean_images)]
    except InputError as error:
        return [*lines, f"time and storage are not known: {error}"]


def count_work(experiment: Experiment, concepts: int) -> WorkCount:
    """Count the work for a number of concepts, as if nothing was cached."""
    trainings = {
        adapter.label: concepts * len(experiment.captions_of(adapter)) * len(experiment.seeds)
        for adapter in experiment.algorithms
    }
    evaluations = sum(
        trainings[adapter.label] * (1 + _checkpoint_count(experiment, adapter)) for adapter in experiment.algorithms
    )
    per_adapter, train_images = experiment.images.total, experiment.images.of("train")
    of_base = concepts * (per_adapter + train_images * (len(experiment.strategies) - 1))
    return WorkCount(
        training_count(experiment, concepts), evaluations, evaluations * per_adapter + of_base, remaining=trainings
    )


def sweep_image_count(experiment: Experiment) -> int:
    """The most images that the strength sweep of one champion generates."""
    from flows.steps.strength import MAX_IMAGES, SWEEP_PROMPT_TYPES, other_strengths

    counts = (min(MAX_IMAGES, experiment.images.of(prompt_type)) for prompt_type in SWEEP_PROMPT_TYPES)
    return len(other_strengths(experiment)) * sum(counts)


def _checkpoint_count(experiment: Experiment, adapter: AdapterConfig) -> int:
    length = monitoring.training_length(experiment.adapter_settings(adapter).training)
    return sum(count < length for count in experiment.checkpoints)


def _describe_grid(experiment: Experiment, concepts: int) -> str:
    strategies = {experiment.captions_of(adapter) for adapter in experiment.algorithms}
    if len(strategies) == 1:
        captions = counted(len(strategies.pop()), "caption strategy", "caption strategies")
        settings = f"{counted(len(experiment.algorithms), 'adapter setting')} x {captions}"
    else:
        pairs = training_count(experiment, 1) // len(experiment.seeds)
        settings = counted(pairs, "pair of adapter setting and captions", "pairs of adapter setting and captions")
    grid = f"{counted(concepts, 'concept')} x {settings} x {counted(len(experiment.seeds), 'seed')}"
    checkpoints = ", ".join(map(str, experiment.checkpoints))
    return f"{grid}, also scored after {checkpoints}" if checkpoints else grid


def subtract_cached(experiment: Experiment, work: WorkCount, known: DataConcepts) -> WorkCount:
    """Return the work with what is cached; images without cached tags are captioned to find out.

    Raises:
        InputError: The base or another model is missing or invalid.
    """
    from flows.steps.requests import caption_request, prior_sets
    from tasks.artifacts import ImageSet, RunContext
    from tasks.caption import caption_concepts
    from tasks.generate import generation_inputs
    from tasks.models import resolve_models
    from tasks.runtime.adapter_training import AdapterTraining

    store = Store(experiment.output / "store")
    context = RunContext(store.root.resolve())
    models = resolve_models.fn(**experiment.model_sources())
    concepts = caption_concepts.fn(context, caption_request(experiment, known, models.tagger, models.captioner))
    runs = expand_grid(experiment, concepts)
    images = {concept.name: ImageSet(concept.images, concept.images_digest) for concept in concepts}
    stage_inputs = {
        spec: AdapterTraining(context, training).stage_inputs
        for spec, training in training_requests(
            experiment, models.base, runs, images, prior_sets(context, concepts)
        ).items()
    }
    remaining = Counter({adapter.label: 0 for adapter in experiment.algorithms})
    for spec, stages in stage_inputs.items():
        remaining[spec.algorithm] += any(store.find("adapter", inputs) is None for inputs in stages.values())
    sampling = experiment.sampling_settings()

    def has_images(adapter: str | None, prompts: Prompts) -> bool:
        return store.find("images", generation_inputs(models.base.digest, adapter, prompts, sampling)) is not None

    cached_evaluations = 0
    for run in runs:
        key = stage_key("adapter", stage_inputs[run.spec.training][run.spec.checkpoint])
        cached_evaluations += has_images(key, run.concept.prompts[run.spec.strategy])
    of_base = 0
    for concept in concepts:
        shared, _ = base_prompts(concept.prompts[experiment.strategies[0]])
        own = [base_prompts(concept.prompts[strategy])[1] for strategy in experiment.strategies]
        of_base += sum(sum(map(len, prompts.values())) for prompts in (shared, *own) if has_images(None, prompts))
    return replace(
        work,
        remaining=dict(remaining),
        cached_evaluations=cached_evaluations,
        cached_images=cached_evaluations * experiment.images.total + of_base,
    )


def estimate_cost(experiment: Experiment, work: WorkCount, mean_images: float) -> list[str]:
    """Estimate the time and storage of the work that is not cached, in lines, with the sources of the estimate.

    Args:
        mean_images: The mean number of images of a concept.

    Raises:
        InputError: The base or another model is not available on this machine.
    """
    from lycoris import bases

    return format_cost(
        experiment,
        work,
        mean_images,
        measure_timings(experiment, bases.digest(experiment.base, **experiment.base_options().for_base)),
    )


def _count_parameters(experiment: Experiment) -> dict[str, int]:
    """Label of an adapter -> how many parameters its training trains."""
    from lycoris.bases import parameter_count

    parts = parameter_count.meta_parts(experiment.base, **experiment.base_options().for_parts)
    return {
        adapter.label: parameter_count.count_parameters(parts, experiment.adapter_settings(adapter).as_dict())
        for adapter in experiment.algorithms
    }


def format_cost(experiment: Experiment, work: WorkCount, mean_images: float, timings: Timings) -> list[str]:
    """Describe time and storage of the work that is not cached; what was never measured is named as not known.

    Args:
        mean_images: The mean number of images of a concept.

    Raises:
        InputError: The base is not available on this machine.
    """
    from flows.runtime.task_runner import worker_count

    parameters = remember(
        experiment.output / "store",
        "trained parameters",
        adapter_inputs(experiment),
        lambda: _count_parameters(experiment),
    )
    files = {
        adapter.label: work.remaining[adapter.label] * (1 + _checkpoint_count(experiment, adapter))
        for adapter in experiment.algorithms
    }
    adapter_bytes = BYTES_PER_PARAMETER * FILE_COPIES * sum(parameters[label] * files[label] for label in files)
    step_counts = {adapter.label: step_count(experiment, adapter, mean_images) for adapter in experiment.algorithms}
    if not timings.is_complete(experiment.algorithms):
        return [
            f"about {_format_bytes(adapter_bytes)} of storage for adapters ({COPIES}); time and storage of images are "
            f"not known, as `{experiment.output / 'store'}` has no such run yet"
        ]
    image_bytes = (work.images - work.cached_images) * (timings.image_bytes or 0)
    workers = worker_count(experiment)
    seconds = {name: value / workers for name, value in _step_seconds(step_counts, work, timings).items()}
    return [
        f"about {_format_duration(sum(seconds.values()))} on {workers} process{'es' * (workers > 1)}: "
        + ", ".join(f"{name} {_format_duration(value)}" for name, value in seconds.items()),
        f"about {_format_bytes(adapter_bytes + image_bytes)} of storage: "
        f"adapters {_format_bytes(adapter_bytes)} ({COPIES}), images {_format_bytes(image_bytes)}",
        *(
            f"  {adapter.label:<32}{parameters[adapter.label]:>12,} parameters, "
            f"{step_counts[adapter.label]} steps of {timings.step_seconds[adapter.label]:.3g} s"
            for adapter in experiment.algorithms
        ),
        f"an estimate for a machine that does nothing else, from {' and from '.join(timings.sources)}; parameters are "
        "counted, not estimated",
        "times of cached trainings include loading and what else ran then",
    ]


def _step_seconds(step_counts: Mapping[str, int], work: WorkCount, timings: Timings) -> dict[str, float]:
    """Return the seconds of each kind of step that is not cached, on one process."""
    images = work.images - work.cached_images
    evaluations = work.evaluations - work.cached_evaluations
    return {
        "training": sum(
            timings.step_seconds[label] * count * work.remaining[label] for label, count in step_counts.items()
        ),
        "generation": images * (timings.image_seconds or 0),
        "evaluation": images * (timings.feature_seconds or 0) + evaluations * (timings.score_seconds or 0),
    }


def step_count(experiment: Experiment, adapter: AdapterConfig, mean_images: float) -> int:
    """Return the steps of one training; for a length in epochs, those for a concept of average size."""
    training = experiment.adapter_settings(adapter).training
    if training.get("steps"):
        return training["steps"]
    images = adapter.images or mean_images
    images_per_step = training["batch_size"] * training.get("gradient_accumulation_steps", 1)
    return max(1, round(training["epochs"] * images / images_per_step))


def _format_duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}" if seconds < 10 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _format_bytes(count: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.0f} kB"
