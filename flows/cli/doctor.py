"""`lycoris doctor`: check this machine and its installation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from flows.cli.options import JSON, PATH, Arguments, option
from flows.cli.output import print_json, print_lines

DESCRIPTION = """\
Check what a run needs: Python, torch and its device, memory, disks, packages and their tested versions, extras, the
Hugging Face hub and its cache, servers, locks. A line that asks for something says what to do. The exit status is 1 if
a run would fail, else 0.
"""
PARAMETERS = (
    option("--output", type=PATH, default=Path("runs"), help="output folder of the runs (default: runs)"),
    JSON,
)
_MARKS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


def run(arguments: Arguments) -> int:
    """Print a line for each check; 1 if one found a problem."""
    from flows.runtime.health.checks import run_checks

    findings = run_checks(arguments.output)
    for finding in findings:
        print_lines([f"{_MARKS[finding.state]:<9}{finding.topic:<11}{finding.text}"])
        if finding.remedy:
            print_lines([f"{'':<20}-> {finding.remedy}"])
    problems = sum(finding.state == "problem" for finding in findings)
    if arguments.json:
        print_json({"findings": [asdict(finding) for finding in findings], "problems": problems})
    return 1 if problems else 0
