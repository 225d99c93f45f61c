"""Write the report of a study."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from lycoris.cache.integrity import file_digest
from lycoris.cache.keys import PACKAGE_ROOT
from lycoris.cache.outputs import write_if_changed
from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import RunContext
from tasks.runtime import log_forwarding, progress

if TYPE_CHECKING:
    from lycoris.report.run.schema import StudyRecord

CODE_OF_PAGES = ("report", "analysis", "metrics", "terms.py")
"""Library code that a page depends on."""
CODE_SUFFIXES = {".py", ".js", ".css", ".html"}
TIMES = ("created", "seconds")
"""Parts of a study that differ between runs with the same results: a page keeps those of the run that wrote it."""


@task(name="report", task_run_name="report")
@redacting_errors
def write_report(context: RunContext, study: StudyRecord, out: Path) -> Path:
    """Write the report of a study as one page, unless the page of the same results is there.

    Args:
        study: as `lycoris.report.render` takes it.

    Returns:
        The file.
    """
    from lycoris.report import render

    log_forwarding.connect(context.progress)
    with progress.track_step(context.progress, "report"):
        write_if_changed(out.parent, out.name, report_inputs(study), lambda: render(study, out))
        return out


def report_inputs(study: Mapping[str, Any]) -> dict[str, str]:
    """What the files of a study depend on: its results and the code of the pages.

    When a run took place, and which of its work was cached, is not among them.
    """
    adapters = [{name: value for name, value in one.items() if name != "cached"} for one in study.get("adapters") or []]
    results = {**{name: value for name, value in study.items() if name not in TIMES}, "adapters": adapters}
    text = json.dumps(results, default=str, sort_keys=True)
    return {"results": hashlib.sha256(text.encode()).hexdigest(), "code": _code_digest()}


@cache
def _code_digest() -> str:
    roots = [PACKAGE_ROOT / name for name in CODE_OF_PAGES]
    files = [file for root in roots for file in ([root] if root.is_file() else sorted(root.rglob("*")))]
    digests = [file_digest(file) for file in files if file.suffix in CODE_SUFFIXES]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
