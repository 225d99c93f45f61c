"""What a study will take, before anything starts: adapters, pictures, time and storage, and what is there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from flows.config import monitoring
from flows.config.experiment import AdapterConfig, Experiment, training_count
from flows.steps.grid import base_prompts, expand_grid, training_requests
from flows.studies.timing import measure_timings
from lycoris.cache.keys import stage_key
from lycoris.cache.store import Store
from lycoris.data.concepts import Concept, load_concepts
from lycoris.errors import InputError

BYTES_PER_PARAMETER = 4
"""Bytes of a number in an adapter's file, which is float32."""
FILE_COPIES = 2
"""Each adapter is kept in the store and, with its scores, under its name."""


@dataclass(frozen=True)
class WorkCount:
    """What is to do and what is done.

    Attributes:
        adapters: to be trained; checkpoints are no trainings of their own.
        scored: adapters to be drawn with and scored, checkpoints included.
        pictures: by all of these, and by the base.
        left: trainings that the store does not have, by the adapter's label.
        drawn: of the scored those whose drawings it has.
        kept: of the pictures those that it has.
    """

    adapters: int
    evaluations: int
    images: int
    remaining: Mapping[str, int]
    cached_evaluations: int = 0
    cached_images: int = 0

    @property
    def cached_adapters(self) -> int:
        """Of the adapters those that the store has."""
        return self.adapters - sum(self.remaining.values())


def describe_plan(experiment: Experiment) -> list[str]:
    """What an experiment will do, in lines; nothing is started, a short trial apart where nothing was measured.

    Args:
        experiment: as it will be run.

    Raises:
        InputError: there is no such data folder or concept.
    """
    concepts = selected_concepts(experiment)
    work = count_work(experiment, len(concepts))
    own = work.evaluations * images_per_adapter(experiment)
    lines = [
        f"{work.adapters} adapters: {_describe_grid(experiment, len(concepts))}",
        f"{work.images} pictures: {images_per_adapter(experiment)} by each adapter, {work.images - own} by the untouched base",  # noqa: E501
    ]
    try:
        if (experiment.output / "store" / "adapter").is_dir():
            work = subtract_cached(experiment, work)
            lines.append(
                f"in the store: {work.cached_adapters} of {work.adapters} adapters, {work.cached_images} of {work.images} pictures"  # noqa: E501
            )
        return [*lines, *estimate_cost(experiment, work)]
    except InputError as error:
        return [*lines, f"time and storage are not known: {error}"]


def selected_concepts(experiment: Experiment) -> list[Concept]:
    """The concepts of an experiment."""
    everything = load_concepts(experiment.data_folder(), experiment.concepts_file)
    names = experiment.select_concepts([concept.name for concept in everything])
    return [concept for concept in everything if concept.name in names]


def images_per_adapter(experiment: Experiment) -> int:
    """Pictures that are drawn with one adapter."""
    return experiment.images.total


def count_work(experiment: Experiment, concepts: int) -> WorkCount:
    """How much there is to do for so many concepts."""
    ways = {
        one.label: concepts * len(experiment.captions_of(one)) * len(experiment.seeds) for one in experiment.algorithms
    }
    scored = sum(ways[one.label] * (1 + _checkpoint_count(experiment, one)) for one in experiment.algorithms)
    base = concepts * (
        images_per_adapter(experiment) + experiment.images.of("train") * (len(experiment.strategies) - 1)
    )
    return WorkCount(
        training_count(experiment, concepts), scored, scored * images_per_adapter(experiment) + base, remaining=ways
    )


def _checkpoint_count(experiment: Experiment, adapter: AdapterConfig) -> int:
    length = monitoring.training_length(experiment.adapter_settings(adapter)["training"])
    return sum(each < length for each in experiment.checkpoints)


def _describe_grid(experiment: Experiment, concepts: int) -> str:
    own = {experiment.captions_of(adapter) for adapter in experiment.algorithms}
    if len(own) == 1:
        ways = f"{len(experiment.algorithms)} algorithms x {len(own.pop())} captions"
    else:
        ways = f"{training_count(experiment, 1) // len(experiment.seeds)} pairs of algorithm and captions"
    parts = f"{concepts} concepts x {ways} x {len(experiment.seeds)} seeds"
    after = ", ".join(map(str, experiment.checkpoints))
    return f"{parts}, taken after {after} of their training" if after else parts


def subtract_cached(experiment: Experiment, work: WorkCount) -> WorkCount:
    """The work with what of it the store has; pictures that no run has looked at are captioned for it.

    Raises:
        InputError: the base or another network is not what it should be.
    """
    from flows.steps.requests import caption_request
    from tasks.artifacts import ImageSet, Prompts, RunContext, SamplingSettings
    from tasks.caption import caption_concepts
    from tasks.generate import generation_inputs
    from tasks.models import resolve_models
    from tasks.runtime.adapter_training import AdapterTraining

    store = Store(experiment.output / "store")
    context = RunContext(store.root.resolve())
    models = resolve_models.fn(**experiment.model_sources())
    names = [concept.name for concept in selected_concepts(experiment)]
    request = caption_request(experiment, models, experiment.data_folder(), names)
    concepts = caption_concepts.fn(context, request, experiment.images.model_dump(), experiment.sampling.seed)
    runs = expand_grid(experiment, concepts)
    images = {concept.name: ImageSet(concept.images, concept.images_digest) for concept in concepts}
    inputs_of = {
        spec: AdapterTraining(context, one).stage_inputs
        for spec, one in training_requests(experiment, models.base, runs, images).items()
    }
    remaining = Counter({adapter.label: 0 for adapter in experiment.algorithms})
    for spec, stages in inputs_of.items():
        remaining[spec.algorithm] += any(store.find("adapter", inputs) is None for inputs in stages.values())
    sampling = SamplingSettings(**experiment.sampling_settings())

    def has_images(adapter: str | None, prompts: Prompts) -> bool:
        return store.find("images", generation_inputs(models.base.digest, adapter, prompts, sampling)) is not None

    cached_evaluations = 0
    for run in runs:
        key = stage_key("adapter", inputs_of[run.spec.training][run.spec.checkpoint])
        cached_evaluations += has_images(key, run.concept.prompts[run.spec.strategy])
    base_images = 0
    for concept in concepts:
        shared, _ = base_prompts(concept.prompts[experiment.strategies[0]])
        own = [base_prompts(concept.prompts[strategy])[1] for strategy in experiment.strategies]
        base_images += sum(sum(map(len, prompts.values())) for prompts in (shared, *own) if has_images(None, prompts))
    return replace(
        work,
        remaining=dict(remaining),
        cached_evaluations=cached_evaluations,
        cached_images=cached_evaluations * images_per_adapter(experiment) + base_images,
    )


def estimate_cost(experiment: Experiment, work: WorkCount) -> list[str]:
    """Time and storage of what is not there yet, and what they were reckoned from.

    Raises:
        InputError: the base or another network is not on this machine.
    """
    from flows.runtime.task_runner import worker_count
    from lycoris import bases
    from lycoris.bases import parameter_count

    parts = parameter_count.meta_parts(experiment.base)
    sizes = {
        one.label: parameter_count.count_parameters(parts, experiment.adapter_settings(one))
        for one in experiment.algorithms
    }
    adapters = sum(
        BYTES_PER_PARAMETER
        * FILE_COPIES
        * sizes[one.label]
        * work.remaining[one.label]
        * (1 + _checkpoint_count(experiment, one))
        for one in experiment.algorithms
    )
    found = measure_timings(experiment, bases.digest(experiment.base))
    train = sum(
        found.step_seconds[one.label] * _step_count(experiment, one) * work.remaining[one.label]
        for one in experiment.algorithms
    )
    undrawn = work.images - work.cached_images
    drawings = undrawn * (found.image_bytes or 0)
    seconds = {
        "training": train,
        "drawing": undrawn * (found.image_seconds or 0),
        "looking and scoring": undrawn * (found.feature_seconds or 0)
        + (work.evaluations - work.cached_evaluations) * (found.score_seconds or 0),
    }
    processes = worker_count(experiment)
    return [
        f"about {_format_duration(sum(seconds.values()) / processes)} on {processes} process{'es' * (processes > 1)}: "
        + ", ".join(f"{name} {_format_duration(value / processes)}" for name, value in seconds.items()),
        f"about {_format_bytes(adapters + drawings)} of storage: adapters {_format_bytes(adapters)}, drawings {_format_bytes(drawings)}",  # noqa: E501
        *(
            f"  {one.label:<32}{sizes[one.label]:>12,} numbers, {_step_count(experiment, one)} steps of "
            f"{found.step_seconds[one.label]:.3g} s"
            for one in experiment.algorithms
        ),
        f"an estimate, from {' and from '.join(found.sources)}; numbers are counted, not estimated",
    ]


def _step_count(experiment: Experiment, adapter: AdapterConfig) -> int:
    """Of one training; where its length is in epochs, of the experiment's mean concept."""
    training = experiment.adapter_settings(adapter)["training"]
    if training.get("steps"):
        return training["steps"]
    counts = [len(concept.images) for concept in selected_concepts(experiment)]
    pictures = adapter.pictures or sum(counts) / len(counts)
    return max(
        1,
        round(
            training["epochs"] * pictures / (training["batch_size"] * training.get("gradient_accumulation_steps", 1))
        ),
    )


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
