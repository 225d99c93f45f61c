"""How every step is done: look for its finished output, else make it, show it, keep it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from lycoris.cache.store import Store, stage_key
from tasks.artifacts import Artifact, RunContext
from tasks.runtime import prefect_retries, progress, resources, transfer

ItemT = TypeVar("ItemT")
GPU_STAGES = ("adapter", "images", "features")
"""Stages that are made on a GPU where there is one."""


def get_or_compute(
    context: RunContext,
    stage: str,
    label: str,
    inputs: Mapping[str, Any],
    work: Callable[[Path, progress.StepProgress], None],
) -> Artifact:
    """A finished stage: found, or made just now; another process that makes the same is waited for.

    Args:
        place: where it is kept.
        name: of the stage.
        label: what the user reads behind the stage's name.
        inputs: everything the output depends on.
        work: called with the folder to write into and the bar to move.
    """
    return get_or_compute_many(context, stage, label, {stage: inputs}, lambda folders, bar: work(folders[stage], bar))[
        stage
    ]


def get_or_compute_many(
    context: RunContext,
    stage: str,
    label: str,
    inputs: Mapping[ItemT, Mapping[str, Any]],
    work: Callable[[dict[ItemT, Path], progress.StepProgress], None],
) -> dict[ItemT, Artifact]:
    """Finished stages that one piece of work makes: found, or, if any is missing, those missing made just now.

    Args:
        place: where they are kept.
        name: of the stages.
        label: what the user reads behind the stages' name.
        inputs: for each, everything its output depends on; another process that makes the first is waited for.
        work: called with the folders to write into, of those that are missing, and the bar to move.
    """
    prefect_retries.install_retry_filter(context.progress)
    store = Store(context.store, lambda text: progress.message(context.progress, text))
    text = f"{stage:<9}{label}"
    made: set[ItemT] = set()
    if _missing_items(context, store, stage, inputs):
        waits = f"{text} is being made by another run, which is waited for."
        first = next(iter(inputs.values()))
        with store.lock(stage_key(stage, first), lambda: progress.message(context.progress, waits)):
            made = _missing_items(context, store, stage, inputs)
            if made:
                with ExitStack() as stack:
                    stack.enter_context(resources.exclusive_compute(context, gpu=stage in GPU_STAGES))
                    bar = stack.enter_context(progress.track_step(context.progress, text))
                    work({part: stack.enter_context(store.create(stage, inputs[part])) for part in made}, bar)
    found = {
        part: Artifact(one.key, one.folder, part not in made, one.seconds)
        for part, one in ((part, store.find(stage, own)) for part, own in inputs.items())
        if one is not None
    }
    assert found.keys() == inputs.keys()
    for one in found.values():
        transfer.publish(context, one.folder)
    seconds = max(one.seconds for part, one in found.items() if not made or part in made)
    progress.step_finished(context.progress, text, cached=not made, seconds=seconds)
    return found


def _missing_items(
    context: RunContext, store: Store, stage: str, inputs: Mapping[ItemT, Mapping[str, Any]]
) -> set[ItemT]:
    """Those that are neither here nor, if machines share finished stages, could be brought here."""
    return {
        part
        for part, one in inputs.items()
        if store.find(stage, one) is None and not transfer.try_fetch(context, stage, stage_key(stage, one))
    }
