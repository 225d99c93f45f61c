"""All documents together: checked against their sources and stamps, and brought up to date."""

from __future__ import annotations

import re
from pathlib import Path

from flows.studies.evidence.figures import (
    DATA,
    ROOT,
    UNSOURCED,
    check_blocks,
    check_coverage,
    check_unsourced,
    figures_digest,
    read_not_covered,
    read_sources,
    read_unsourced,
    unsourced_figures,
    write_blocks,
)
from flows.studies.evidence.result_tables import check_tables, write_tables
from flows.studies.evidence.stamps import check_stamps, read_records, write_stamps
from lycoris.cache.atomic import atomic_write_text


def documents(root: Path = ROOT) -> list[str]:
    """Return the documents, the README among them, relative to the repository."""
    return sorted(
        path.relative_to(root).as_posix() for path in (*root.glob("README.md"), *(root / "docs").rglob("*.md"))
    )


def check_document(document: str, text: str, root: Path = ROOT) -> list[str]:
    """Return what differs between a document and its sources, its list of other figures, and its stamps."""
    problems = check_blocks(text, read_sources(text, root))
    sections = read_unsourced(root).get(document, {})
    problems += check_unsourced(text, sections) + check_coverage(text, sections, read_not_covered(root).get(document))
    problems += check_tables(text, root)
    return problems + check_stamps(text, document, read_records(root), root)


def check_documents(root: Path = ROOT) -> list[str]:
    """Return what differs in all documents, and what is listed of documents that are not there."""
    known = documents(root)
    gone = sorted({*read_unsourced(root), *read_not_covered(root)} - set(known))
    return [f"{document}: {UNSOURCED} lists it, and it is not there" for document in gone] + [
        f"{document}: {problem}"
        for document in known
        for problem in check_document(document, (root / document).read_text(encoding="utf-8"), root)
    ]


def update_documents(root: Path = ROOT) -> None:
    """Write the figures, the tables and the stamps that the sources and records give into the documents."""
    records = read_records(root)
    for document in documents(root):
        before = (root / document).read_text(encoding="utf-8")
        after = write_stamps(write_tables(write_blocks(before, read_sources(before, root)), root), records, root)
        if after != before:
            atomic_write_text(root / document, after)


def accept_unsourced(root: Path = ROOT) -> list[str]:
    """List the figures without a source as they are now and return the sections that changed, in words.

    Reasons stay as they are, and sections are added by hand.
    """
    text, lines = (root / UNSOURCED).read_text(encoding="utf-8"), []
    for document, sections in read_unsourced(root).items():
        content = (root / document).read_text(encoding="utf-8")
        for heading, listed in sections.items():
            figures = unsourced_figures(content, heading)
            count, digest = len(figures), figures_digest(figures)
            if (count, digest) != (listed["figures"], listed["digest"]):
                pattern = (
                    rf"(^  {re.escape(document)}:\n(?:    .*\n)*?"
                    rf"    \"?{re.escape(heading)}\"?:\n      figures: ).*\n(      digest: ).*$"
                )
                text = re.sub(pattern, rf"\g<1>{count}\n\g<2>'{digest}'", text, flags=re.MULTILINE)
                lines.append(f"{document}, {heading}: {count} figures, {digest}")
    atomic_write_text(root / UNSOURCED, text)
    return lines or [f"{UNSOURCED.relative_to(DATA.parent)} is as the documents are."]
