"""One of the processes that train together, started by `torch.distributed.run` for `tasks.runtime.process_group`."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from dataclasses import replace
from pathlib import Path

from tasks.runtime import log_forwarding
from tasks.runtime.adapter_training import run_trainings
from tasks.runtime.continuation import continue_finished
from tasks.runtime.curves import CurveReporter
from tasks.runtime.process_group import write_failure
from tasks.runtime.progress import StepProgress


def main(folder: Path) -> int:
    """Take part in a training.

    Args:
        folder: that the process which started this one shares with it.

    Returns:
        The exit code.
    """
    rank = int(os.environ["RANK"])
    threading.Thread(target=_end_with_starter, daemon=True).start()
    try:
        _train(folder, rank)
    except Exception as error:
        write_failure(folder, rank, error)
        return 1
    return 0


def _train(folder: Path, rank: int) -> None:
    import torch
    import torch.distributed as dist

    trainings, bar = pickle.loads((folder / "trainings").read_bytes())
    context = trainings[0].context
    torch.set_num_threads(context.threads)
    device = "cpu"
    if context.device != "cpu" and torch.cuda.is_available():
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device == "cpu" else "nccl")
    trainings = [replace(each, context=replace(context, device=device, processes=1)) for each in trainings]
    is_first = rank == 0
    if is_first:
        log_forwarding.connect(context.progress)
    run_trainings(
        trainings,
        bar if is_first else StepProgress(bar.label, None),
        prepare=continue_finished,
        reporters=[CurveReporter.of_training(each) for each in trainings] if is_first else (),
    )
    dist.destroy_process_group()


def _end_with_starter() -> None:
    """End at once when the process that started this one has ended, however it did."""
    while os.read(0, 1024):  # not through `sys.stdin`, whose lock a thread must not hold when Python ends
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
