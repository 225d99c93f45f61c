"""The page of a study's answer: what its factor does in each category, with the pictures beside the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

import lycoris.report as report
from lycoris.analysis.categories import EVERY, dimensions, levels, sentences
from lycoris.analysis.page import coded
from lycoris.report.embedding import Album
from lycoris.report.words import interval, number, title

HERE = Path(__file__).parent
REPORT = Path(report.__file__).parent
COLUMNS = (("trigger", 1), ("alter", 3), ("style", 2))
"""Prompt types of the pictures beside the numbers, and how many of each."""
SIDE = 192


def render(
    effects: pd.DataFrame, study: Mapping[str, Any], out: Path, *, factor: str, question: str, command: str = ""
) -> Path:
    """Write the answer of a study as one HTML file that needs nothing else and asks no network.

    Args:
        effects: of `lycoris.analysis.categories.by_category`.
        study: what was run, as :class:`lycoris.report.study.Study` names it.
        out: the file, which appears whole or not at all.
        factor: whose levels are compared.
        question: in a sentence.
        command: the command line that made it.

    Returns:
        ``out``.
    """
    album = Album(side=SIDE)
    table = dimensions(effects)
    categories = [name for name in dict.fromkeys(table["category"]) if name != EVERY]
    sections = [
        {
            "category": category,
            "rows": _rows(table[table["category"] == category]),
            "walls": [
                wall
                for concept in study.get("concepts") or []
                if concept.get("category") == category
                for wall in _walls(study, concept, factor, album)
            ],
        }
        for category in [*([EVERY] if (table["category"] == EVERY).any() else []), *categories]
    ]
    pages = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pages.filters["coded"] = coded
    html = pages.get_template("answer.html").render(
        title=study.get("title") or "Study",
        question=question,
        factor=factor,
        levels=levels(effects),
        sections=sections,
        sentences=sentences(effects),
        every=EVERY,
        command=command,
        encoded=album.encode(),
        unread=album.unread,
        style=Markup((REPORT / "report.css").read_text() + (HERE / "answer.css").read_text()),
    )
    return report.write_page(html, out)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a pair of levels, one cell a dimension."""
    rows = []
    for (level, against), own in table.groupby(["level", "against"], sort=False):
        cells = {}
        for one in own.itertuples():
            known = one.low is not None and not pd.isna(one.low)
            verdict = "none" if not known or one.low <= 0 <= one.high else "better" if one.low > 0 else "worse"
            cells[one.metric] = {
                "value": number(one.effect, 2, signed=True),
                "interval": interval(one.low, one.high, 2) if known else "",
                "verdict": verdict,
            }
        first = own.iloc[0]
        rows.append(
            {
                "level": level, "against": against, "cells": cells, "pairs": int(first["pairs"]),
                "concepts": int(first["concepts"]),
            }
        )  # fmt: skip
    return rows


def _walls(study: Mapping[str, Any], concept: Mapping[str, Any], factor: str, album: Album) -> list[dict[str, Any]]:
    """The same prompts and seeds down a column, a level of the factor a row; one wall for what else differs."""
    own = [one for one in study.get("adapters") or [] if one.get("concept") == concept["name"] and one.get("drawings")]
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for one in own:
        rest = tuple((name, one.get(name)) for name in ("algorithm", "captions", "seed") if name != factor)
        groups.setdefault(rest, []).append(one)
    first = min((str(dict(rest).get("seed")) for rest in groups), default=None)
    walls = []
    for rest, members in groups.items():
        if str(dict(rest).get("seed")) != first or len(members) < 2:
            continue
        said = [title(value) if name == "algorithm" else f"{name} {value}" for name, value in rest]
        base = next(
            (
                each
                for each in study.get("bases") or []
                if each.get("concept") == concept["name"] and each.get("captions") == members[0].get("captions")
            ),
            None,
        )
        rows: list[dict[str, Any]] = (
            [{"name": "base", "pictures": _pictures(base.get("drawings") or {}, album)}] if base else []
        )
        rows += [{"name": one.get(factor), "pictures": _pictures(one["drawings"], album)} for one in members]
        walls.append({"name": f"{concept['name']}, {', '.join(said)}", "rows": rows, "prompts": _prompts(members[0])})
    return walls


def _chosen(drawings: Mapping[str, Sequence[Any]]) -> list[Mapping[str, Any]]:
    """Of each prompt type some, evenly over all."""
    found = []
    for kind, most in COLUMNS:
        made = list(drawings.get(kind) or [])
        shown = min(most, len(made))
        found += [made[place * len(made) // shown] for place in range(shown)]
    return found


def _pictures(drawings: Mapping[str, Sequence[Any]], album: Album) -> list[int | None]:
    return [album.add(one.get("image")) for one in _chosen(drawings)]


def _prompts(adapter: Mapping[str, Any]) -> list[str]:
    return [str(one.get("prompt", "")) for one in _chosen(adapter["drawings"])]
