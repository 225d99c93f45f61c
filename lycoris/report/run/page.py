"""The report of a run: one self-contained HTML file, the images first."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from lycoris.errors import InputError
from lycoris.report.run.payload import report_payload
from lycoris.report.run.schema import StudyRecord
from lycoris.report.run.sections import SCRIPTS, SECTIONS
from lycoris.report.shared.image_store import ImageStore
from lycoris.report.shared.json_data import replace_nonfinite
from lycoris.report.shared.templates import write_page


def render(study: StudyRecord, out: Path) -> Path:
    """Write the report of a run as one HTML file that loads nothing over the network.

    Args:
        study: what was run and its results. Every part but ``title`` may be missing or empty, and an adapter may have
            an ``error`` in place of results.
        out: the file to write, or an existing folder, which then gets ``report.html``.

    Returns:
        The path of the file. An interrupted write leaves no partial file.

    Raises:
        InputError: `study` has no title.
    """
    if not study.get("title"):
        raise InputError("Argument `study` must have a `title`, but has none.")
    out = Path(out)
    if out.is_dir():
        out = out / "report.html"
    study = replace_nonfinite(study)
    store = ImageStore()
    page = report_payload(study, store)
    page["images"] = store.encode()
    add_file_links(page, out.parent)
    return write_page(
        "run/report.html",
        out,
        sections=SECTIONS,
        scripts=SCRIPTS,
        data=page,
        title=study["title"],
        study=study,
        page=page,
        unreadable=store.unreadable,
    )


def add_file_links(page: dict[str, Any], folder: Path) -> None:
    """Add to each adapter with a file below the page's folder the link to it, relative to the page.

    Args:
        page: of `report_payload`.
        folder: of the page.
    """
    for adapter in page["adapters"]:
        file = Path(adapter.get("file") or "").resolve()
        if adapter.get("file") and file.is_relative_to(folder.resolve()):
            adapter["link"] = quote(file.relative_to(folder.resolve()).as_posix())
