"""The most memory that a piece of work held beyond what was there before it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

_PROC_SELF = Path("/proc/self")


@dataclass
class PeakMemory:
    """What `peak_memory` found.

    Attributes:
        bytes: filled when the block ends; None where the system does not say.
    """

    bytes: int | None = None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[PeakMemory]:
    """Watch a block's memory.

    On a GPU it is what its allocator handed out. On a CPU it is the process's resident memory, whose highest value
    Linux counts and forgets when asked to; what earlier work freed is given back to the system first, so that it
    does not hide what is taken again.

    Args:
        device: where the work is done.

    Yields:
        A record whose ``bytes`` is known after the block.
    """
    found = PeakMemory()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        try:
            yield found
        finally:
            found.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    with suppress(OSError, AttributeError):  # other C libraries have no such call
        ctypes.CDLL(None).malloc_trim(0)
    resident = _read_status("VmRSS") if _reset_peak() else None
    try:
        yield found
    finally:
        highest = _read_status("VmHWM")
        if resident is not None and highest is not None:
            found.bytes = max(0, highest - resident)


def _reset_peak() -> bool:
    """Let the highest resident memory be counted anew from now on; whether that was possible."""
    try:
        (_PROC_SELF / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _read_status(name: str) -> int | None:
    """A line of the process's status, in bytes; None where there is none."""
    try:
        lines = (_PROC_SELF / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
