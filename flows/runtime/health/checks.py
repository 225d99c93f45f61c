"""The checks of `lycoris doctor`, in the order of its lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flows.runtime.health.finding import Finding
from flows.runtime.health.machine import check_disks, check_memory, check_python, check_torch
from flows.runtime.health.packages import check_extras, check_requirements, check_versions
from flows.runtime.health.services import check_hub, check_locks, check_servers
from lycoris.safety.redaction import redact

CHECKS: tuple[Callable[[Path], list[Finding]], ...] = (
    check_python, check_torch, check_memory, check_disks, check_requirements, check_versions, check_extras, check_hub,
    check_servers, check_locks,
)  # fmt: skip


def run_checks(output: Path) -> list[Finding]:
    """Run every check; one that fails is a problem itself.

    Args:
        output: the output folder of the runs.
    """
    findings = []
    for check in CHECKS:
        try:
            findings += check(output)
        except Exception as error:  # a broken package may raise anything
            topic = check.__name__.removeprefix("check_")
            findings.append(Finding(topic, "problem", redact(f"{type(error).__name__}: {error}"), "Install anew."))
    return findings
