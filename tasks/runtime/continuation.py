"""Last states of finished trainings in the store, which longer trainings of the same adapter continue from."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from lycoris.cache.atomic import atomic_write, atomic_write_text
from lycoris.cache.keys import stage_key
from tasks.runtime.adapter_training import CONTINUED_FILE, STATE_FILE, AdapterTraining

if TYPE_CHECKING:
    from lycoris.training import TrainingJob

STATES_DIR = "states"
MAX_STATE_BYTES = 2**29
"""States above this size are not kept: that of native fine-tuning is three times the base's weights."""

logger = logging.getLogger("lycoris.tasks.train")


def states_folder(training: AdapterTraining) -> Path:
    """Return the folder of the last states of trainings that differ from this one at most in length and schedule."""
    from lycoris.training.continuation import LENGTH_SETTINGS

    inputs = dict(training.stage_inputs[None])
    settings = dict(inputs.pop("settings"))
    settings["training"] = {k: v for k, v in settings["training"].items() if k not in LENGTH_SETTINGS}
    inputs = {name: value for name, value in inputs.items() if name != "samples"}
    return training.context.store / STATES_DIR / stage_key("state", {**inputs, "settings": settings})


def keep_state(training: AdapterTraining, step: int) -> None:
    """Keep the last state of a finished training, unless it is too large."""
    state = training.work_dir / STATE_FILE
    if state.stat().st_size > MAX_STATE_BYTES:
        logger.debug("The last state of %s is too large and not kept.", training.request.spec.label)
        return
    folder = states_folder(training)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / f"{step}.safetensors") as temporary:
        shutil.copyfile(state, temporary)


def continue_finished(training: AdapterTraining, job: TrainingJob) -> None:
    """Continue a shorter finished training of the same adapter if its steps are the first ones of this; say why not."""
    from lycoris.training.continuation import continue_training

    if job.checkpoint is None or job.checkpoint.exists():
        return
    step, reasons = continue_training(job, sorted(states_folder(training).glob("*.safetensors")))
    for reason in reasons:
        logger.info("%s: %s", training.request.spec.label, reason, extra={"topic": "train"})
    if step is not None:
        atomic_write_text(training.work_dir / CONTINUED_FILE, json.dumps(step))
        text = "%s continues from step %d of a finished training"
        logger.info(text, training.request.spec.label, step, extra={"topic": "train"})
