"""HTML pages from templates: self-contained files that load nothing over the network and share style and scripts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from lycoris.analysis.text.formatting import adapter_label, format_duration, format_moment, format_number
from lycoris.cache.atomic import atomic_write_text
from lycoris.report.shared.json_data import json_for_script
from lycoris.safety.redaction import redact_values

FOLDER = Path(__file__).parent
REPORT_FOLDER = FOLDER.parent
SHARED_SCRIPTS = tuple(
    FOLDER / f"{name}.js" for name in ("state", "elements", "format", "images", "plot", "sortable", "print")
)
"""The scripts of every page with data; their names are visible to all others."""


@dataclass(frozen=True)
class Section:
    """A section of a page: drawn by the script `<name>.js` of its folder, or printed from the template `<name>.html`.

    Attributes:
        folder: where its script or template lies.
        name: its id in the page, and the name of its file.
        link: its text in the navigation bar.
        heading: its heading.
        lead: how to read it, in a few sentences; may hold markup.
        per_concept: whether it shows the selected concept, which is then named in its heading, after `preposition`.
    """

    folder: Path
    name: str
    link: str
    heading: str
    lead: str = ""
    per_concept: bool = False
    preposition: str = "of"

    @property
    def script(self) -> Path | None:
        """Its script, if there is one."""
        path = self.folder / f"{self.name}.js"
        return path if path.is_file() else None

    @property
    def template(self) -> str | None:
        """Its template as a name for the environment, if there is one."""
        path = self.folder / f"{self.name}.html"
        return path.relative_to(REPORT_FOLDER).as_posix() if path.is_file() else None


def write_page(
    template: str,
    out: Path,
    *,
    sections: Sequence[Section] = (),
    scripts: Sequence[Path] = (),
    styles: Sequence[Path] = (),
    data: Mapping[str, Any] | None = None,
    **context: Any,
) -> Path:
    """Write a page from a template, without secrets; an interrupted write leaves no partial file.

    Args:
        template: a template of this room, such as ``run/report.html``; it extends ``shared/base.html``.
        out: the file; its folder is created if necessary.
        sections: those of the page, in order. Each script runs in a block of its own.
        scripts: further JavaScript files, whose names the sections share.
        styles: further CSS files.
        data: what the scripts read, embedded as JSON. Pages with data get `SHARED_SCRIPTS`.
        context: what the templates print.

    Returns:
        ``out``.
    """
    environment = Environment(
        loader=FileSystemLoader(REPORT_FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(FILTERS)
    shared = [] if data is None else SHARED_SCRIPTS
    blocks = ["{\n" + _read(section.script) + "}" for section in sections if section.script is not None]
    html = environment.get_template(template).render(
        style=Markup("\n".join(map(_read, (FOLDER / "style.css", *styles)))),
        script=Markup("\n".join([*map(_read, (*shared, *scripts)), *blocks])),
        data=None if data is None else Markup(json_for_script(redact_values(data))),
        sections=sections,
        **redact_values(context),
    )
    return atomic_write_text(out, html)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def code_spans(text: object) -> Markup:
    """A sentence in which what stands between backticks is code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def plain_value(value: object) -> str:
    """A setting as a person writes it: lists with commas, records as ``name value``, without what is not set."""
    if isinstance(value, Mapping):
        parts = {name: plain_value(entry) for name, entry in value.items() if entry not in (None, {}, [], "")}
        return ", ".join(f"{name} {text}" for name, text in parts.items() if text)
    if isinstance(value, list | tuple):
        separator = "; " if any(isinstance(entry, Mapping) for entry in value) else ", "
        return separator.join(map(plain_value, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


FILTERS = {
    "code_spans": code_spans,
    "compact": plain_value,
    "duration": format_duration,
    "label": lambda adapter: adapter_label(adapter, with_seed=True).replace("`", ""),
    "moment": format_moment,
    "number": format_number,
}
"""What every template can print its values with."""
