"""Analysis of a table of scores, written to files."""

from __future__ import annotations

from pathlib import Path

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.table_analysis import Analysis, analyze, save_tables
from lycoris.errors import InputError
from lycoris.report.analysis.page import render


def analyze_file(metrics: Path, configurations: Path | None, out: Path, *, command: str = "") -> Analysis:
    """Analyse a table of scores and write the results.

    Args:
        metrics: A published table, or ``scores.csv`` of a study.
        configurations: The table of configurations that belongs to a published table.
        out: The folder for ``effects.csv``, ``ranks.csv``, ``scaled_ranks.csv``, ``correlations.csv``, ``shap.csv`` and
            ``analysis.html``.
        command: The command line, shown on the page.

    Raises:
        InputError: A table is invalid, or `out` cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"Option `--out` must be a folder, but `{out}` is a file.")
    analysis = analyze(read_table(metrics, configurations))
    try:
        save_tables(analysis, out)
        render(analysis, out / "analysis.html", title=f"Analysis of {metrics.name}", command=command)
    except OSError as error:
        raise InputError(f"Folder `{out}` cannot be written: {error}") from error
    return analysis
