"""The report of a study: one self-contained HTML file, the pictures first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lycoris.errors import InputError
from lycoris.report.run.payload import replace_nonfinite, report_payload
from lycoris.report.shared.image_store import ImageStore
from lycoris.report.shared.templates import PAGE_FOLDER, write_page

__all__ = ["render"]

REPORT_SCRIPTS = [
    PAGE_FOLDER / f"{name}.js"
    for name in (
        *("page", "plot", "sortable", "compare", "pictures", "closeup", "table", "scores", "efficiency"),
        *("tradeoff", "losses", "watching", "captions", "start"),
    )
]


def render(study: Mapping[str, Any], out: Path) -> Path:
    """Write the report of a study as one HTML file that needs nothing else and asks no network.

    Args:
        study: what was run and what came of it; :class:`lycoris.report.run.schema.Study` names the keys. All
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
    study = replace_nonfinite(study)
    album = ImageStore()
    page = report_payload(study, album)
    page["pictures"] = album.encode()
    return write_page(
        "report.html",
        out,
        scripts=REPORT_SCRIPTS,
        data=page,
        title=study["title"],
        study=study,
        page=page,
        unread=album.unreadable,
    )
