"""How every step is done: look for its finished output, else make it, show it, keep it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lycoris.store import Store, key
from tasks import compute, progress
from tasks.records import Made, Place


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
    store = Store(place.store)
    text = f"{name:<9}{label}"
    found = store.find(name, inputs)
    cached = found is not None
    if found is None:
        waits = f"{text} is being made by another run, which is waited for."
        with store.alone(key(name, inputs), lambda: progress.note(place.progress, waits)):
            found = store.find(name, inputs)
            cached = found is not None
            if found is None:
                with progress.step(place.progress, text) as bar, store.create(name, inputs) as folder:
                    compute.prepare(place)
                    work(folder, bar)
                found = store.find(name, inputs)
    assert found is not None
    progress.finished(place.progress, text, cached=cached, seconds=found.seconds)
    return Made(found.key, found.folder, cached, found.seconds)
