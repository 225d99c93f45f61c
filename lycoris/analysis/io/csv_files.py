"""CSV files as text first, so that what is wrong in one can be named by row and column."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from lycoris.errors import InputError

MISSING_VALUES = ("", "nan", "n/a", "na", "none", "null", "-")
"""What stands for a number that is not there, in any case."""


def read_csv(path: Path) -> pd.DataFrame:
    """A CSV file as text; the index counts lines as an editor does, the heading being row 1.

    Raises:
        InputError: the file cannot be read, is no table, has no rows, or two columns of one name.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            heading = next(csv.reader(file), [])
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False)
    except FileNotFoundError:
        raise InputError(f"There is no file `{path}`.") from None
    except (OSError, UnicodeDecodeError, csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"File `{path}` cannot be read as a CSV table: {error}") from error
    twice = [name for name, count in Counter(heading).items() if count > 1]
    if twice:
        raise InputError(f"Table `{path}` has two columns `{twice[0]}`.")
    table.index = table.index + 2
    table = table[(table != "").any(axis=1)]
    if table.empty:
        raise InputError(f"Table `{path}` has no rows.")
    return table.apply(lambda column: column.str.strip())


def parse_numbers(text: pd.Series, path: Path) -> pd.Series:
    """A column of text as numbers, NaN where there is none.

    Raises:
        InputError: a value is neither a finite number nor missing.
    """
    missing = text.str.casefold().isin(MISSING_VALUES)
    values = pd.to_numeric(text.mask(missing), errors="coerce").astype("float64")
    wrong = text.index[~missing & ~np.isfinite(values)]
    if len(wrong):
        raise InputError(
            f"Row {wrong[0]}, column `{text.name}` of `{path}` must be a number, but is `{text[wrong[0]]}`."
        )
    return values
