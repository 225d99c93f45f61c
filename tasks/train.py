"""Train adapters, one by one or several at the same time on one base."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from prefect import task

from lycoris.cache.store import Store
from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import ImageSet, RunContext
from tasks.runtime import finished, log_forwarding, progress, resources
from tasks.runtime.adapter_training import AdapterTraining, run_trainings
from tasks.runtime.cache import get_or_compute_many
from tasks.runtime.continuation import continue_finished, keep_state
from tasks.runtime.curves import CurveReporter
from tasks.runtime.process_group import train_on_processes
from tasks.runtime.transfer import local_context, local_images
from tasks.trainings import TrainedAdapter, TrainingRequest, TrainingSummary


@task(name="adapter", task_run_name="adapter {request.spec.name}")
@redacting_errors
def train_adapter(context: RunContext, request: TrainingRequest) -> TrainedAdapter:
    """Train an adapter on captioned images, unless it is cached.

    Each checkpoint is a stage of its own: a shorter list of checkpoints is found in the cache, and a missing one is
    made by training again.

    Returns:
        The adapters; each folder holds ``adapter.safetensors`` and ``training.json``, that of the end ``samples`` too.
    """
    context = local_context(context)
    request = replace(request, images=_local_set(context, request.images))
    if request.prior is not None:
        request = replace(request, prior=replace(request.prior, images=_local_set(context, request.prior.images)))
    training = AdapterTraining(context, request)

    def compute(folders: dict[int | None, Path], bar: progress.StepProgress) -> None:
        if not training.is_trained:
            _run([training], bar)
        keep_state(training, TrainingSummary.read(training.work_dir).step)
        for checkpoint, folder in folders.items():
            training.write_artifact(checkpoint, folder)

    artifacts = get_or_compute_many(context, "adapter", request.spec.label, training.stage_inputs, compute)
    shutil.rmtree(training.work_dir, ignore_errors=True)
    return TrainedAdapter(artifacts[None], {checkpoint: artifacts[checkpoint] for checkpoint in request.checkpoints})


def _local_set(context: RunContext, images: ImageSet) -> ImageSet:
    return replace(images, files=tuple(local_images(context, images)))


@task(name="adapters", task_run_name="adapters {label}")
@redacting_errors
def co_train_adapters(context: RunContext, label: str, requests: Sequence[TrainingRequest]) -> None:
    """Train several adapters at the same time on one base, so that `train_adapter` only has to store them.

    If one cannot be trained, all are left to `train_adapter`, which says why.
    """
    from lycoris.errors import InputError

    log_forwarding.connect(context.progress)
    trainings = [AdapterTraining(context, request) for request in requests]
    store, started = Store(context.store), time.monotonic()
    text = f"{'adapters':<9}{label} · {len(trainings)} at the same time"
    if len(_missing(trainings, store)) > 1:
        finished.stop_search()
    with ExitStack() as stack:
        for key in sorted(training.key for training in trainings):
            stack.enter_context(store.lock(f"together-{key}"))
        missing = _missing(trainings, store)
        if len(missing) > 1:
            stack.enter_context(resources.exclusive_compute(context, gpu=True))
            with progress.track_step(context.progress, text) as bar, suppress(InputError):
                _run(missing, bar)
    progress.step_finished(context.progress, text, cached=len(missing) < 2, seconds=time.monotonic() - started)


def _missing(trainings: Sequence[AdapterTraining], store: Store) -> list[AdapterTraining]:
    return [training for training in trainings if not (training.is_trained or training.is_cached(store))]


def _run(trainings: Sequence[AdapterTraining], bar: progress.StepProgress) -> None:
    """Train, continuing finished trainings and reporting curves, by as many processes as the run has GPUs for it."""
    if (count := trainings[0].context.processes) > 1:
        train_on_processes(trainings, bar, count)
        return
    reporters = [CurveReporter.of_training(training) for training in trainings]
    run_trainings(trainings, bar, prepare=continue_finished, reporters=reporters)
