"""Pages: HTML files that need nothing else and ask no network, from templates that share head, style and scripts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from lycoris.analysis.text.formatting import adapter_label, format_duration, format_number
from lycoris.report.run.payload import json_for_script

PAGE_FOLDER = Path(__file__).parent.parent


def write_page(
    template: str,
    out: Path,
    *,
    folder: Path = PAGE_FOLDER,
    styles: Sequence[Path] = (),
    scripts: Sequence[Path | Sequence[Path]] = (),
    data: Mapping[str, Any] | None = None,
    **context: Any,
) -> Path:
    """Write a page from a template; it appears whole or not at all.

    Args:
        template: a file name; it extends ``base.html`` of this folder.
        out: the file, in a folder made if need be.
        folder: where the template lies; templates of this folder are found as well.
        styles: files of CSS behind the report's own.
        scripts: files of JavaScript, which run as one function; a list of files among them is a block in it, with names
            of its own.
        data: what the scripts read, as JSON in the page.
        told: what the template prints.

    Returns:
        ``out``.
    """
    pages = Environment(
        loader=FileSystemLoader([folder, PAGE_FOLDER, PAGE_FOLDER / "analysis"]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(FILTERS)
    html = pages.get_template(template).render(
        style=Markup("\n".join(file.read_text(encoding="utf-8") for file in (PAGE_FOLDER / "report.css", *styles))),
        script=Markup("\n".join(map(_script_text, scripts))),
        data=None if data is None else Markup(json_for_script(data)),
        **context,
    )
    return atomic_write_text(html, out)


def atomic_write_text(text: str, out: Path) -> Path:
    """Write a text file that appears whole or not at all, in a folder made if need be; returns ``out``."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return out


def _script_text(part: Path | Sequence[Path]) -> str:
    return (
        part.read_text(encoding="utf-8") if isinstance(part, Path) else "\n".join(["{", *map(_script_text, part), "}"])
    )


def code_spans(text: object) -> Markup:
    """A sentence in which what stands between backticks is code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


FILTERS = {
    "coded": code_spans,
    "compact": lambda value: value if isinstance(value, str) else json.dumps(value, default=str),
    "duration": format_duration,
    "label": lambda adapter: adapter_label(adapter, with_seed=True).replace("`", ""),
    "number": format_number,
}
"""What every template can print its values with."""
