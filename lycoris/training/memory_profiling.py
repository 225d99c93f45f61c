"""Peak memory of a block of code, beyond what was in use before it."""

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
    """Result of `peak_memory`.

    Attributes:
        bytes: set when the block ends; None where the system does not report it.
    """

    bytes: int | None = None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[PeakMemory]:
    """Measure the peak memory of the block.

    On a GPU it is the memory that torch's allocator has allocated. On a CPU it is the resident memory of the process,
    whose peak Linux records and can reset; memory that earlier work has freed is returned to the system first, so that
    it does not hide what the block allocates.

    Args:
        device: where the work is done.

    Yields:
        A record whose ``bytes`` is set after the block.
    """
    peak = PeakMemory()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        try:
            yield peak
        finally:
            peak.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    resident = _read_status("VmRSS") if _reset_peak() else None
    try:
        yield peak
    finally:
        highest = _read_status("VmHWM")
        if resident is not None and highest is not None:
            peak.bytes = max(0, highest - resident)


def _reset_peak() -> bool:
    """Reset the recorded peak of resident memory; return whether the system allows it."""
    try:
        (_PROC_SELF / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _read_status(name: str) -> int | None:
    """A field of ``/proc/self/status``, in bytes; None if there is none."""
    try:
        lines = (_PROC_SELF / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
