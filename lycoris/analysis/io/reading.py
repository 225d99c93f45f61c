"""Tables of scores in any format: published, a study's ``scores.csv``, or result files of PEFT's comparison."""

from __future__ import annotations

from pathlib import Path

from lycoris.analysis.io.csv_files import read_csv
from lycoris.analysis.io.paper_tables import read_paper_table
from lycoris.analysis.io.peft_results import is_result_folder, read_peft_results
from lycoris.analysis.io.score_table import ScoreTable, finalize_table
from lycoris.analysis.io.study_scores import read_study_scores
from lycoris.analysis.statistics.configurations import read_configurations
from lycoris.errors import InputError


def read_table(metrics: Path, configurations: Path | None = None) -> ScoreTable:
    """Scores from a published table (with a column ``Folder``) or from a study's ``scores.csv``.

    Args:
        metrics: the CSV file of scores, or a folder of PEFT's result files.
        configurations: the CSV file with the settings of each configuration; required for a published table.

    Returns:
        The table without duplicate rows; its notes count them.

    Raises:
        InputError: A value is invalid; the message names file, row and column.
    """
    if is_result_folder(metrics):
        if configurations is not None:
            raise InputError(f"Folder `{metrics}` of PEFT's results has its configurations: leave out `--configs`.")
        return finalize_table(read_peft_results(metrics), metrics)
    text = read_csv(metrics)
    settings = None if configurations is None else read_configurations(configurations)
    if "Folder" in text:
        if settings is None:
            raise InputError(f"Table `{metrics}` needs `--configs`: the table with the settings of each configuration.")
        table = read_paper_table(text, metrics, settings)
    elif {"concept", "name", "value"} <= set(text):
        table = read_study_scores(text, metrics, settings)
    else:
        raise InputError(
            f"Table `{metrics}` needs a column `Folder` (published scores) or columns `concept`, `name` and `value` "
            f"(a study's scores.csv), but has {', '.join(f'`{name}`' for name in list(text)[:6])}."
        )
    return finalize_table(table, metrics)
