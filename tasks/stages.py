"""How every step is done: look for its finished output, else make it, show it, keep it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from lycoris.store import Store
from tasks import compute, progress
from tasks.records import Made, Place

Part = TypeVar("Part")


def stage(
    place: Place,
    name: str,
    label: str,
    inputs: Mapping[str, Any],
    work: Callable[[Path, progress.Bar], None],
) -> Made:
    """A finished stage: found, or made just now.

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
        inputs: for each, everything its output depends on.
        work: called with the folders to write into, of those that are missing, and the bar to move.
    """
    store = Store(place.store)
    text = f"{name:<9}{label}"
    missing = [part for part, one in inputs.items() if store.find(name, one) is None]
    if missing:
        with progress.step(place.progress, text) as bar, ExitStack() as stack:
            folders = {part: stack.enter_context(store.create(name, inputs[part])) for part in missing}
            compute.prepare(place)
            work(folders, bar)
    found = {part: store.find(name, one) for part, one in inputs.items()}
    made = {
        part: Made(one.key, one.folder, part not in missing, one.seconds)
        for part, one in found.items()
        if one is not None
    }
    assert made.keys() == inputs.keys()
    seconds = max(one.seconds for part, one in made.items() if not missing or part in missing)
    progress.finished(place.progress, text, cached=not missing, seconds=seconds)
    return made
