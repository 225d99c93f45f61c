"""The page of an analysis of a table of scores: one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lycoris.analysis.table_analysis import Analysis
from lycoris.analysis.text.effect_text import describe_leads
from lycoris.report.analysis.payload import analysis_payload
from lycoris.report.analysis.sections import FOLDER, SCRIPTS, SECTIONS
from lycoris.report.run.payload import EMPTY_PAYLOAD
from lycoris.report.shared.templates import write_page

STYLE = FOLDER / "analysis.css"


def render(analysis: Analysis, out: Path, *, title: str, command: str = "") -> Path:
    """Write the page of an analysis.

    Args:
        analysis: the results to show.
        out: the file. An interrupted write leaves no partial file.
        title: its heading.
        command: the command line that made it.

    Returns:
        ``out``.
    """
    payload = analysis_payload(analysis)
    rows = analysis.ranking.rows
    return write_page(
        "analysis/analysis.html",
        out,
        sections=SECTIONS,
        scripts=SCRIPTS,
        styles=[STYLE],
        data={**EMPTY_PAYLOAD, "algorithms": payload["algorithms"], "analysis": payload},
        title=title,
        command=command,
        counts={
            "runs": len(rows.drop_duplicates(["base", "strength", "config", "epoch", "seed"])),
            "configurations": rows["config"].nunique(),
            "measures": sum(measure.name in rows for measure in analysis.ranking.measures),
        },
        **template_context(analysis),
    )


def template_context(analysis: Analysis) -> dict[str, Any]:
    """What the templates print of an analysis."""
    return {
        "groups": analysis.ranking.groups,
        "notes": analysis.notes,
        "leads": describe_leads(analysis.leaders),
    }
