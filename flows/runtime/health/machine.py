"""Checks of the machine: Python, torch and its device, memory, disks."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from flows.config.project import CODE_ROOT, is_checkout, resource
from flows.runtime.health.finding import Finding
from lycoris import __version__

SUPPORTED_PYTHON = ((3, 11), (3, 13))
"""The oldest and the newest version that the tests run with."""
MIN_MEMORY = 3 * 2**30
"""Bytes that the default experiment needs on the pocket; a real base needs more."""
MIN_DISK = 2 * 2**30
"""Bytes for the results of a few experiments."""


def check_python(_: Path) -> list[Finding]:
    """Check the version of Python, and name the installation of the package."""
    oldest, newest = SUPPORTED_PYTHON
    text = f"{platform.python_version()} ({sys.executable})"
    where = "checkout" if is_checkout() else "installed"
    own = Finding("lycoris", "ok", f"{__version__}, {where} in {CODE_ROOT}; documents in {resource('docs')}")
    if oldest <= sys.version_info[:2] <= newest:
        return [own, Finding("python", "ok", text)]
    wanted = f"{'.'.join(map(str, oldest))} to {'.'.join(map(str, newest))}"
    return [own, Finding("python", "problem", f"{text}; supported are {wanted}", f"Install Python {wanted}.")]


def check_torch(_: Path) -> list[Finding]:
    """Check that torch can be imported, and name the device that it computes on."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Finding("torch", "problem", f"cannot be imported: {error}", "pip install torch (pytorch.org says how)")]
    version = Finding("torch", "ok", torch.__version__)
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = f"{torch.cuda.get_device_name(0)}, {_gib(free)} of {_gib(total)} free"
        if torch.cuda.device_count() > 1:
            name += f"; {torch.cuda.device_count()} GPUs"
        return [version, Finding("device", "ok", name)]
    if torch.backends.mps.is_available():
        return [version, Finding("device", "ok", "Apple GPU (mps)")]
    cores = _cores()
    if Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi"):
        built = torch.version.cuda
        reason = (
            f"torch is built for CUDA {built}, which the driver does not serve"
            if built
            else "torch is built for the CPU"
        )
        text = f"{cores} CPU cores; there is an NVIDIA driver, but {reason}"
        return [
            version,
            Finding(
                "device", "problem", text, "Install the torch for your driver (pytorch.org), or update the driver."
            ),
        ]
    text = f"{cores} CPU cores ({platform.machine()}), no GPU"
    return [
        version,
        Finding("device", "note", text, "The pocket needs no GPU; train real bases on a machine with one."),
    ]


def check_memory(_: Path) -> list[Finding]:
    """Check how much memory is free."""
    values = _memory()
    if values is None:
        return [Finding("memory", "note", "the system does not say how much memory there is")]
    free, total = values
    text = f"{_gib(free)} of {_gib(total)} free"
    if free < MIN_MEMORY:
        remedy = f"The default experiment needs about {_gib(MIN_MEMORY)}: end other programs, or `--set workers=1`."
        return [Finding("memory", "problem", text, remedy)]
    return [Finding("memory", "ok", text)]


def check_disks(output: Path) -> list[Finding]:
    """Check that the output folder and the folder of temporary files have space and can be written."""
    findings = []
    for topic, folder, remedy in (
        ("disk", output, "Free some space, or choose another folder with `--set output=FOLDER`."),
        ("temporary", Path(tempfile.gettempdir()), "Free some space, or set TMPDIR."),
    ):
        there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
        free = shutil.disk_usage(there).free
        text = f"{_gib(free)} free in {folder}"
        if not os.access(there, os.W_OK):
            findings.append(Finding(topic, "problem", f"{folder} cannot be written", remedy))
        else:
            findings.append(Finding(topic, "ok", text) if free >= MIN_DISK else Finding(topic, "problem", text, remedy))
    return findings


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> tuple[int, int] | None:
    """Bytes of memory that are free and that there are."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        values = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
        return values["MemAvailable"], values["MemTotal"]
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page
    except (OSError, ValueError, AttributeError):
        return None


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
