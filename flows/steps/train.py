"""Submit the trainings of a study, in groups where one process trains several adapters at the same time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.config import defaults
from flows.config.experiment import Experiment
from flows.runtime.task_runner import worker_count
from flows.steps.batching import co_training_groups
from flows.steps.futures import TrainingFutures, submit
from lycoris.adapters.peft_methods.methods import PREFIX
from tasks.artifacts import RunContext, RunSpec
from tasks.train import co_train_adapters, train_adapter
from tasks.trainings import TrainingRequest


def group_trainings(experiment: Experiment, requests: Mapping[RunSpec, TrainingRequest]) -> list[list[TrainingRequest]]:
    """Trainings in groups that run at the same time: by default only where one process does all the work.

    Where every core has a process, one adapter per process is as fast (`docs/benchmarks.md`). A method of PEFT is
    trained alone, since its layers act on every row of a batch.
    """
    count = worker_count(experiment)
    is_single = count == 1 and experiment.artifact_store is None
    max_size = experiment.co_train or (defaults.default_co_train(experiment.base) if is_single else 1)
    alone = [[request] for spec, request in requests.items() if spec.algorithm.startswith(PREFIX)]
    together = [
        (spec.algorithm, request) for spec, request in requests.items() if not spec.algorithm.startswith(PREFIX)
    ]
    return [*co_training_groups(together, max_size, count), *alone]


def count_trainings(groups: Sequence[Sequence[TrainingRequest]]) -> int:
    """How many steps `submit_trainings` submits."""
    return sum(len(group) + (len(group) > 1) for group in groups)


def submit_trainings(
    context: RunContext, groups: Sequence[Sequence[TrainingRequest]]
) -> dict[RunSpec, TrainingFutures]:
    """Submit trainings; those of a group wait until the group was trained, and then only store their adapters."""
    futures = {}
    for group in groups:
        label = f"{group[0].spec.algorithm} · {', '.join(dict.fromkeys(one.spec.concept for one in group))}"
        co_training = (submit(co_train_adapters, context, label, list(group)),) if len(group) > 1 else ()
        for request in group:
            adapter = submit(train_adapter, context, request, wait_for=co_training)
            futures[request.spec] = TrainingFutures(adapter, co_training)
    return futures
