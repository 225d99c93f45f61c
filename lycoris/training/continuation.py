"""Continue a finished training with more steps, where its steps are the first ones of the longer training."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.cache.atomic import atomic_write
from lycoris.training.optim.schedules import lr_scale

if TYPE_CHECKING:
    from lycoris.training.config import TrainingSettings
    from lycoris.training.job import TrainingJob

LENGTH_SETTINGS = frozenset({"steps", "epochs", "schedule", "warmup_steps", "cycles"})
"""Settings that may differ: only their learning rates at the finished steps must be the same."""


def continue_training(job: TrainingJob, states: Iterable[Path]) -> tuple[int | None, list[str]]:
    """Write the longest state of a finished training that a job continues as the job's checkpoint.

    The result is the same, bit for bit on a CPU, as if all steps were taken at once. Base, network, images and seed are
    compared when the checkpoint is read.

    Args:
        job: has a checkpoint file, which does not exist yet.
        states: last checkpoints of finished trainings.

    Returns:
        The step that the job continues from, None if it starts anew; and for each longer state that it could not
        continue from, the reason.
    """
    from safetensors import safe_open

    reasons: list[str] = []
    by_step = {}
    for path in states:
        with safe_open(path, framework="pt") as file:
            by_step[file.get_slice("losses").get_shape()[0]] = (path, json.loads(file.metadata()["identity"]))
    images = sum(example.repeats for example in job.examples if not example.prior)
    steps = job.settings.steps_after(job.settings.length, images)
    for step in sorted((step for step in by_step if step < steps), reverse=True):
        path, identity = by_step[step]
        reason = _why_not(job, json.loads(identity["settings"]), step, images)
        if reason is None:
            _copy_state(path, job, identity)
            return step, reasons
        reasons.append(f"a finished training of {step} steps is not continued: {reason}")
    return None, reasons


def _why_not(job: TrainingJob, old: dict[str, Any], done: int, images: int) -> str | None:
    """The reason why a training of `done` steps is not the beginning of a job; None if it is."""
    new = job.settings
    current = json.loads(json.dumps(asdict(new)))  # tuples are lists in the file
    if differing := sorted(name for name in current if name not in LENGTH_SETTINGS and old.get(name) != current[name]):
        return f"it has other {', '.join(differing)}"
    steps = new.steps_after(new.length, images)
    if not _has_equal_rates(old, done, new, steps):
        return (
            f"its schedule `{old['schedule']}` over {done} steps, {old['warmup_steps']} of them warm-up, has other "
            f"learning rates than `{new.schedule}` over {steps}, {new.warmup_steps} of them warm-up. "
            f"{_way_to_continue(old, done, new, steps)}"
        )
    points = [point for callback in job.callbacks for point in callback.schedule.points(new, images)]
    if any(point.step <= done for point in points):
        return "its validation, samples or checkpoints up to there are not kept"
    return None


def _way_to_continue(old: dict[str, Any], done: int, new: TrainingSettings, steps: int) -> str:
    """The settings of a job that would continue a training of `done` steps."""
    warmup_steps = old["warmup_steps"]
    if _has_equal_rates(old, done, replace(new, warmup_steps=warmup_steps), steps):
        return f"It continues with `training.warmup_steps={warmup_steps}`."
    restarts = max(2, round((steps - warmup_steps) / max(1, done - warmup_steps)))
    total, cycles = warmup_steps + restarts * (done - warmup_steps), restarts * old["cycles"]
    repeated = replace(new, schedule=old["schedule"], warmup_steps=warmup_steps, cycles=cycles)
    if _has_equal_rates(old, done, repeated, total):
        return (
            f"It continues for {total} steps with its schedule restarted: `training.schedule={old['schedule']}`, "
            f"`training.cycles={cycles}`, `training.warmup_steps={warmup_steps}`."
        )
    return "Only a schedule such as `constant`, whose learning rates do not depend on the length, can be continued."


def _has_equal_rates(old: dict[str, Any], done: int, new: TrainingSettings, steps: int) -> bool:
    return all(
        abs(
            lr_scale(old["schedule"], step, done, old["warmup_steps"], old["cycles"])
            - lr_scale(new.schedule, step, steps, new.warmup_steps, new.cycles)
        )
        < 1e-12
        for step in range(done)
    )


def _copy_state(path: Path, job: TrainingJob, identity: dict[str, str]) -> None:
    """Copy a state as the checkpoint of a job, whose settings and callbacks replace those in the header."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    assert job.checkpoint is not None
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    own = {**identity, **job.settings_identity()}
    job.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(job.checkpoint) as temporary:
        save_file(tensors, temporary, metadata={**metadata, "identity": json.dumps(own, sort_keys=True)})
