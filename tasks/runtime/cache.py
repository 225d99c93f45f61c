"""How every step is done: look for its finished output, else make it, show it, keep it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from lycoris.cache.store import Store, key
from tasks.artifacts import Made, Place
from tasks.runtime import prefect_retries, progress, resources, transfer

Part = TypeVar("Part")
ON_GPU = ("adapter", "images", "features")
"""Stages that are made on a GPU where there is one."""


def stage(
    place: Place,
    name: str,
    label: str,
    inputs: Mapping[str, Any],
    work: Callable[[Path, progress.Bar], None],
) -> Made:
    """A finished stage: found, or made just now; another process that makes the same is waited for.

    Args:
        place: where it is kept.
        name: of the stage.
        label: what the user reads behind the stage's name.
        inputs: everything the output depends on.
        work: called with the folder to write into and the bar to move.
    """
    return stages(place, name, label, {name: inputs}, lambda folders, bar: work(folders[name], bar))[name]


def stages(
    place: Place,
    name: str,
    label: str,
    inputs: Mapping[Part, Mapping[str, Any]],
    work: Callable[[dict[Part, Path], progress.Bar], None],
) -> dict[Part, Made]:
    """Finished stages that one piece of work makes: found, or, if any is missing, those missing made just now.

    Args:
        place: where they are kept.
        name: of the stages.
        label: what the user reads behind the stages' name.
        inputs: for each, everything its output depends on; another process that makes the first is waited for.
        work: called with the folders to write into, of those that are missing, and the bar to move.
    """
    prefect_retries.heard(place.progress)
    store = Store(place.store, lambda text: progress.note(place.progress, text))
    text = f"{name:<9}{label}"
    made: set[Part] = set()
    if _missing(place, store, name, inputs):
        waits = f"{text} is being made by another run, which is waited for."
        first = next(iter(inputs.values()))
        with store.alone(key(name, first), lambda: progress.note(place.progress, waits)):
            made = _missing(place, store, name, inputs)
            if made:
                with ExitStack() as stack:
                    stack.enter_context(resources.turn(place, gpu=name in ON_GPU))
                    bar = stack.enter_context(progress.step(place.progress, text))
                    work({part: stack.enter_context(store.create(name, inputs[part])) for part in made}, bar)
    found = {
        part: Made(one.key, one.folder, part not in made, one.seconds)
        for part, one in ((part, store.find(name, own)) for part, own in inputs.items())
        if one is not None
    }
    assert found.keys() == inputs.keys()
    for one in found.values():
        transfer.offered(place, one.folder)
    seconds = max(one.seconds for part, one in found.items() if not made or part in made)
    progress.finished(place.progress, text, cached=not made, seconds=seconds)
    return found


def _missing(place: Place, store: Store, name: str, inputs: Mapping[Part, Mapping[str, Any]]) -> set[Part]:
    """Those that are neither here nor, if machines share finished stages, could be brought here."""
    return {
        part
        for part, one in inputs.items()
        if store.find(name, one) is None and not transfer.fetched(place, name, key(name, one))
    }
