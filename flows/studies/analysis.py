"""From a table of scores to its analysis: what `lycoris analyze` does."""

from __future__ import annotations

from pathlib import Path

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.table_analysis import Analysis, analyze, save_tables
from lycoris.errors import InputError
from lycoris.report.analysis.page import render


def analyze_file(metrics: Path, configurations: Path | None, out: Path, *, command: str = "") -> Analysis:
    """Analyse a table of scores and write what was found.

    Args:
        metrics: a published table or a study's ``scores.csv``.
        configurations: what each configuration is; a published table needs it.
        out: the folder for ``effects.csv``, ``ranks.csv``, ``scaled_ranks.csv``, ``correlations.csv``, ``shap.csv`` and
            ``analysis.html``.
        command: the command line, for the page.

    Raises:
        InputError: something in the tables is not as it should be, or `out` is not a folder that can be written.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"Option `--out` must be a folder, but `{out}` is a file.")
    found = analyze(read_table(metrics, configurations))
    try:
        save_tables(found, out)
        render(found, out / "analysis.html", title=f"Analysis of {metrics.name}", command=command)
    except OSError as error:
        raise InputError(f"Folder `{out}` cannot be written: {error}") from error
    return found
