"""Tables of studies in documents: rendered from the effects that a study left in ``docs/data``.

A document has `<!-- table NAME -->` and `<!-- /table -->`; between them stands what ``docs/data/NAME.csv`` gives, and
nothing as long as there is no such file. ``docs/data/NAME-scores.csv`` has the raw scores that it was computed from.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd

from flows.studies.evidence.figures import DATA, ROOT
from lycoris.analysis.text.formatting import format_interval, format_number
from lycoris.cache.atomic import atomic_write_text
from lycoris.errors import InputError
from lycoris.terms import DIMENSIONS

SCORE_COLUMNS = ("category", "concept", "algorithm", "captions", "seed", "name", "value")
EFFECTS_FILE = "effects_by_category.csv"
_EFFECT_COLUMNS = ("category", "factor", "level", "against", "metric", "effect", "low", "high", "pairs", "concepts")
_TABLE = re.compile(r"(<!-- table (?P<name>[\w-]+) -->\n)(?P<text>.*?)(<!-- /table -->)", re.DOTALL)


def keep_scores(folder: Path, name: str, root: Path = ROOT) -> None:
    """Copy raw scores and effects of a finished study to ``docs/data``, without columns that no table needs.

    Raises:
        InputError: The study has not finished.
    """
    for file in ("scores.csv", EFFECTS_FILE):
        if not (folder / file).is_file():
            raise InputError(f"The study in `{folder}` has no `{file}`: it has not finished.")
    scores = pd.read_csv(folder / "scores.csv", dtype=str)
    kept = scores[[column for column in SCORE_COLUMNS if column in scores]]
    atomic_write_text(root / DATA / f"{name}-scores.csv", kept.to_csv(index=False))
    effects = pd.read_csv(folder / EFFECTS_FILE, dtype=str)
    own = effects[effects["metric"].isin(DIMENSIONS) & (effects["prompt_type"] == "all")]
    atomic_write_text(root / DATA / f"{name}.csv", own[list(_EFFECT_COLUMNS)].to_csv(index=False))


def render_table(name: str, root: Path = ROOT) -> str:
    """Return the table of a study; an empty text where it was not made."""
    file = root / DATA / f"{name}.csv"
    if not file.is_file():
        return ""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        low, high = (float(row[end]) if row[end] else None for end in ("low", "high"))
        text = f"{format_number(float(row['effect']), 2, signed=True)} {format_interval(low, high, 2)}".rstrip()
        key = (row["category"].replace("_", " "), f"{row['level']} - {row['against']}", row["pairs"], row["concepts"])
        cells.setdefault(key, {})[row["metric"]] = text
    shown = [name for name in DIMENSIONS if any(name in one for one in cells.values())]
    lines = [f"| category | difference | {' | '.join(shown)} | pairs | concepts |", "|---" * (len(shown) + 4) + "|"]
    for (category, difference, pairs, concepts), one in cells.items():
        values = " | ".join(one.get(metric, "–") for metric in shown)
        lines.append(f"| {category} | {difference} | {values} | {pairs} | {concepts} |")
    return "\n" + "\n".join(lines) + "\n\n"


def check_tables(text: str, root: Path = ROOT) -> list[str]:
    """Compare the tables of a document with their files and return what differs, in words."""
    return [
        f"the table `{found['name']}` is not what docs/data/{found['name']}.csv gives"
        for found in _TABLE.finditer(text)
        if found["text"] != render_table(found["name"], root)
    ]


def write_tables(text: str, root: Path = ROOT) -> str:
    """Return a document with the tables that their files give."""
    return _TABLE.sub(lambda found: f"{found[1]}{render_table(found['name'], root)}{found[4]}", text)
