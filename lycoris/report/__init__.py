"""The report of a study: one self-contained HTML file, the pictures first."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from lycoris.errors import InputError
from lycoris.report.embedding import Album
from lycoris.report.payload import finite, in_script, payload
from lycoris.report.words import duration, label

__all__ = ["render"]

HERE = Path(__file__).parent
SCRIPTS = (
    "page.js",
    "pictures.js",
    "closeup.js",
    "table.js",
    "scores.js",
    "tradeoff.js",
    "losses.js",
    "watching.js",
    "captions.js",
    "start.js",
)


def render(study: Mapping[str, Any], out: Path) -> Path:
    """Write the report of a study as one HTML file that needs nothing else and asks no network.

    Args:
        study: what was run and what came of it; :class:`lycoris.report.study.Study` names the keys. All
            parts but ``title`` may be missing or empty, and an adapter may carry ``error`` in place of results.
        out: the file to write, or an existing folder, which then gets ``report.html``.

    Returns:
        The path of the file, which appears whole or not at all.

    Raises:
        InputError: when ``study`` has no title.
    """
    if not study.get("title"):
        raise InputError("Argument `study` must have a `title`, but has none.")
    out = Path(out)
    if out.is_dir():
        out = out / "report.html"
    study = finite(study)
    album = Album()
    page = payload(study, album)
    page["pictures"] = album.encode()
    pages = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pages.filters["label"] = lambda adapter: label(adapter, seeds=True).replace("`", "")
    pages.filters["duration"] = duration
    pages.filters["compact"] = lambda value: value if isinstance(value, str) else json.dumps(value, default=str)
    html = pages.get_template("report.html").render(
        study=study,
        page=page,
        unread=album.unread,
        style=Markup((HERE / "report.css").read_text()),
        script=Markup("\n".join((HERE / name).read_text() for name in SCRIPTS)),
        data=Markup(in_script(page)),
    )
    return write_page(html, out)


def write_page(html: str, out: Path) -> Path:
    """Write a page, in a folder made if need be; it appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        part.write_text(html, encoding="utf-8")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return out
