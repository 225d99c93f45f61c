"""What a study will take, before anything starts: adapters, pictures, time and storage, and what is there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flows.config import monitoring
from flows.config.experiment import Adapter, Experiment, count
from flows.steps.grid import base_prompts, cells, trainings
from flows.studies.timing import times
from lycoris.cache.store import Store, key
from lycoris.data.concepts import Concept, read_concepts
from lycoris.errors import InputError

NUMBER = 4
"""Bytes of a number in an adapter's file, which is float32."""
COPIES = 2
"""Each adapter is kept in the store and, with its scores, under its name."""


@dataclass(frozen=True)
class Work:
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
    scored: int
    pictures: int
    left: Mapping[str, int]
    drawn: int = 0
    kept: int = 0

    @property
    def trained(self) -> int:
        """Of the adapters those that the store has."""
        return self.adapters - sum(self.left.values())


def plan(experiment: Experiment) -> list[str]:
    """What an experiment will do, in lines; nothing is started, a short trial apart where nothing was measured.

    Args:
        experiment: as it will be run.

    Raises:
        InputError: there is no such data folder or concept.
    """
    concepts = chosen(experiment)
    work = counted(experiment, len(concepts))
    own = work.scored * each(experiment)
    lines = [
        f"{work.adapters} adapters: {_product(experiment, len(concepts))}",
        f"{work.pictures} pictures: {each(experiment)} by each adapter, {work.pictures - own} by the untouched base",
    ]
    try:
        if (experiment.output / "store" / "adapter").is_dir():
            work = there(experiment, work)
            lines.append(
                f"in the store: {work.trained} of {work.adapters} adapters, {work.kept} of {work.pictures} pictures"
            )
        return [*lines, *estimated(experiment, work)]
    except InputError as error:
        return [*lines, f"time and storage are not known: {error}"]


def chosen(experiment: Experiment) -> list[Concept]:
    """The concepts of an experiment."""
    everything = read_concepts(experiment.expected_data(), experiment.concepts_file)
    names = experiment.chosen([concept.name for concept in everything])
    return [concept for concept in everything if concept.name in names]


def each(experiment: Experiment) -> int:
    """Pictures that are drawn with one adapter."""
    return sum(experiment.images.model_dump().values())


def counted(experiment: Experiment, concepts: int) -> Work:
    """How much there is to do for so many concepts."""
    ways = {
        one.label: concepts * len(experiment.captions_of(one)) * len(experiment.seeds) for one in experiment.algorithms
    }
    scored = sum(ways[one.label] * (1 + _checkpoints(experiment, one)) for one in experiment.algorithms)
    base = concepts * (each(experiment) + experiment.images.train * (len(experiment.strategies) - 1))
    return Work(count(experiment, concepts), scored, scored * each(experiment) + base, left=ways)


def _checkpoints(experiment: Experiment, adapter: Adapter) -> int:
    length = monitoring.length(experiment.settings(adapter)["training"])
    return sum(each < length for each in experiment.checkpoints)


def _product(experiment: Experiment, concepts: int) -> str:
    own = {experiment.captions_of(adapter) for adapter in experiment.algorithms}
    if len(own) == 1:
        ways = f"{len(experiment.algorithms)} algorithms x {len(own.pop())} captions"
    else:
        ways = f"{count(experiment, 1) // len(experiment.seeds)} pairs of algorithm and captions"
    parts = f"{concepts} concepts x {ways} x {len(experiment.seeds)} seeds"
    after = ", ".join(map(str, experiment.checkpoints))
    return f"{parts}, taken after {after} of their training" if after else parts


def there(experiment: Experiment, work: Work) -> Work:
    """The work with what of it the store has; pictures that no run has looked at are captioned for it.

    Raises:
        InputError: the base or another network is not what it should be.
    """
    from tasks.artifacts import Place
    from tasks.caption import captions
    from tasks.generate import inputs_of
    from tasks.runtime.model_refs import sources
    from tasks.train import Training

    store = Store(experiment.output / "store")
    place = Place(store.root.resolve())
    models = sources.fn(**experiment.sources())
    captioned = captions.fn(
        place,
        data=experiment.expected_data(),
        concepts_file=experiment.concepts_file,
        names=[concept.name for concept in chosen(experiment)],
        tagger=models.tagger,
        captioner=models.captioner,
        **experiment.captioning(),
    )
    planned = cells(experiment, captioned)
    stages = {
        cell: Training(place, **asked).stages for cell, asked in trainings(experiment, *models.base, planned).items()
    }
    left = Counter({adapter.label: 0 for adapter in experiment.algorithms})
    for cell, ends in stages.items():
        left[cell.algorithm] += any(store.find("adapter", inputs) is None for inputs in ends.values())

    def has(adapter: str | None, prompts: Mapping[str, Any]) -> bool:
        return store.find("images", inputs_of(models.base[1], adapter, prompts, experiment.drawing())) is not None

    drawn = 0
    for one in planned:
        end = stages[replace(one.cell, checkpoint=None)]
        drawn += has(key("adapter", end[one.cell.checkpoint]), one.concept.prompts[one.cell.captions])
    of_base = 0
    for concept in captioned:
        shared, own = base_prompts(concept, experiment.strategies)
        of_base += sum(sum(map(len, prompts.values())) for prompts in (shared, *own.values()) if has(None, prompts))
    return replace(work, left=dict(left), drawn=drawn, kept=drawn * each(experiment) + of_base)


def estimated(experiment: Experiment, work: Work) -> list[str]:
    """Time and storage of what is not there yet, and what they were reckoned from.

    Raises:
        InputError: the base or another network is not on this machine.
    """
    from flows.runtime.task_runner import workers
    from lycoris import bases
    from lycoris.bases import parameter_count

    parts = parameter_count.shapes_of(experiment.base)
    sizes = {one.label: parameter_count.count(parts, experiment.settings(one)) for one in experiment.algorithms}
    adapters = sum(
        NUMBER * COPIES * sizes[one.label] * work.left[one.label] * (1 + _checkpoints(experiment, one))
        for one in experiment.algorithms
    )
    found = times(experiment, bases.digest(experiment.base))
    train = sum(
        found.steps[one.label] * _steps(experiment, one) * work.left[one.label] for one in experiment.algorithms
    )
    undrawn = work.pictures - work.kept
    drawings = undrawn * (found.bytes or 0)
    seconds = {
        "training": train,
        "drawing": undrawn * (found.picture or 0),
        "looking and scoring": undrawn * (found.look or 0) + (work.scored - work.drawn) * (found.score or 0),
    }
    processes = workers(experiment)
    return [
        f"about {_span(sum(seconds.values()) / processes)} on {processes} process{'es' * (processes > 1)}: "
        + ", ".join(f"{name} {_span(value / processes)}" for name, value in seconds.items()),
        f"about {_size(adapters + drawings)} of storage: adapters {_size(adapters)}, drawings {_size(drawings)}",
        *(
            f"  {one.label:<32}{sizes[one.label]:>12,} numbers, {_steps(experiment, one)} steps of "
            f"{found.steps[one.label]:.3g} s"
            for one in experiment.algorithms
        ),
        f"an estimate, from {' and from '.join(found.sources)}; numbers are counted, not estimated",
    ]


def _steps(experiment: Experiment, adapter: Adapter) -> int:
    """Of one training; where its length is in epochs, of the experiment's mean concept."""
    training = experiment.settings(adapter)["training"]
    if training.get("steps"):
        return training["steps"]
    counts = [len(concept.pictures) for concept in chosen(experiment)]
    pictures = adapter.pictures or sum(counts) / len(counts)
    return max(1, round(training["epochs"] * pictures / (training["batch_size"] * training.get("accumulate", 1))))


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}" if seconds < 10 * length else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.0f} kB"
