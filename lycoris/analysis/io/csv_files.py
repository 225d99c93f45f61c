"""CSV files as text, so that errors can name row and column."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from lycoris.errors import InputError

MAX_NAME_LENGTH = 1000
"""Characters of a column's name."""
MISSING_VALUES = ("", "nan", "n/a", "na", "none", "null", "-")
"""Texts that stand for a missing number, in any case."""


def read_csv(path: Path) -> pd.DataFrame:
    """A CSV file as text; the index counts lines as an editor does, with the heading as row 1.

    Raises:
        InputError: The file cannot be read, is not a table, has no rows, or has two columns of one name.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            heading = next(csv.reader(file), [])
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False)
    except FileNotFoundError:
        raise InputError(f"There is no file `{path}`.") from None
    except (OSError, UnicodeDecodeError, csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"File `{path}` cannot be read as a CSV table: {error}") from error
    long = next((name for name in heading if len(name) > MAX_NAME_LENGTH), None)
    if long is not None:
        raise InputError(f"Table `{path}` has a column `{long[:MAX_NAME_LENGTH]}...`, whose name is too long.")
    repeated = [name for name, count in Counter(heading).items() if count > 1]
    if repeated:
        raise InputError(f"Table `{path}` has two columns `{repeated[0]}`.")
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(f"Table `{path}` has rows with more cells than its heading has columns.")
    table.index = table.index + 2
    table = table[(table != "").any(axis=1)]
    if table.empty:
        raise InputError(f"Table `{path}` has no rows.")
    return table.apply(lambda column: column.str.strip())


def parse_numbers(text: pd.Series, path: Path) -> pd.Series:
    """A column of text as numbers; NaN for missing ones.

    Raises:
        InputError: A value is neither a finite number nor missing.
    """
    missing = text.str.casefold().isin(MISSING_VALUES)
    values = pd.to_numeric(text.mask(missing), errors="coerce").astype("float64")
    invalid = text.index[~missing & ~np.isfinite(values)]
    if len(invalid):
        raise InputError(
            f"Row {invalid[0]}, column `{text.name}` of `{path}` must be a number, but is `{text[invalid[0]]}`."
        )
    return values
