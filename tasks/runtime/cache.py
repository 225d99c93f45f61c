"""Get a stage's output from the store, or compute it, show the step, and store the output."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from lycoris.cache.keys import stage_key
from lycoris.cache.store import Store
from tasks.artifacts import Artifact, RunContext
from tasks.runtime import finished, log_forwarding, progress, resources, transfer

ItemT = TypeVar("ItemT")
GPU_STAGES = ("adapter", "images", "features")
"""Stages that are computed on a GPU where there is one."""

logger = logging.getLogger("lycoris.tasks")


def get_or_compute(
    context: RunContext,
    stage: str,
    label: str,
    inputs: Mapping[str, Any],
    compute: Callable[[Path, progress.StepProgress], None],
) -> Artifact:
    """Return a finished stage from the store, or compute it; wait for another process that computes the same.

    Args:
        stage: name of the stage.
        label: shown behind the stage's name.
        inputs: everything the output depends on.
        compute: called with the folder to write to and the step's progress.
    """
    return get_or_compute_many(
        context, stage, label, {stage: inputs}, lambda folders, bar: compute(folders[stage], bar)
    )[stage]


def get_or_compute_many(
    context: RunContext,
    stage: str,
    label: str,
    inputs: Mapping[ItemT, Mapping[str, Any]],
    compute: Callable[[dict[ItemT, Path], progress.StepProgress], None],
) -> dict[ItemT, Artifact]:
    """Return finished stages that one computation makes, or compute those that are missing.

    Args:
        stage: name of the stages.
        label: shown behind the stages' name.
        inputs: everything the output depends on, for each; another process that computes the first is waited for.
        compute: called with the folders to write to, of those that are missing, and the step's progress.
    """
    log_forwarding.connect(context.progress)
    store = Store(context.store)
    text = f"{stage:<8} {label}"
    computed: set[ItemT] = set()
    if _missing_items(context, store, stage, inputs):
        finished.stop_search()
        first = next(iter(inputs.values()))
        with store.lock(stage_key(stage, first), lambda: _log_wait(text)):
            computed = _missing_items(context, store, stage, inputs)
            if computed:
                with ExitStack() as stack:
                    stack.enter_context(resources.exclusive_compute(context, gpu=stage in GPU_STAGES))
                    bar = stack.enter_context(progress.track_step(context.progress, text))
                    compute({item: stack.enter_context(store.create(stage, inputs[item])) for item in computed}, bar)
    artifacts: dict[ItemT, Artifact] = {}
    for item, own in inputs.items():
        stored = store.find(stage, own)
        if stored is None:
            raise FileNotFoundError(f"Stage `{stage}/{stage_key(stage, own)}` vanished from `{context.store}`.")
        artifacts[item] = Artifact(stored.key, stored.folder, item not in computed, stored.seconds)
        transfer.publish(context, stored.folder)
    seconds = max(one.seconds for item, one in artifacts.items() if not computed or item in computed)
    progress.step_finished(context.progress, text, cached=not computed, seconds=seconds)
    return artifacts


def _log_wait(text: str) -> None:
    logger.info("%s is being computed already, by this run or another one; waiting for it.", text)


def _missing_items(
    context: RunContext, store: Store, stage: str, inputs: Mapping[ItemT, Mapping[str, Any]]
) -> set[ItemT]:
    """Items that are neither in the local store nor, where machines share finished stages, in the remote one."""
    return {
        item
        for item, own in inputs.items()
        if store.find(stage, own) is None and not transfer.try_fetch(context, stage, stage_key(stage, own))
    }
