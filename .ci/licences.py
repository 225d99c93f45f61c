"""Write docs/licences.md: the licence of each installed package of constraints.txt, as its metadata states it."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
HEADER = """\
# Licences of the dependencies

The packages of `constraints.txt` that this page's environment has, with the licence that their metadata states.
`make licences` writes this page anew. The project itself is under the MIT licence.

| package | version | licence |
|---|---|---|
"""
_VAGUE = ("OSI Approved", "License")


def licence(name: str) -> tuple[str, str]:
    """Version and licence of an installed package: its expression, else its classifiers, else its free text.

    Raises:
        importlib.metadata.PackageNotFoundError: it is not installed.
    """
    found = metadata.metadata(name)
    classifiers = [
        line.split(" :: ")[-1] for line in found.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    named = [text for text in classifiers if text not in _VAGUE]
    text = (found.get("License") or "").strip().splitlines()
    stated = found.get("License-Expression") or ", ".join(named) or (text[0] if text else "")
    return found["Version"], stated.replace("|", "/")[:100] or "not stated"


def page() -> str:
    """The page's text."""
    rows = []
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name = re.split(r"[=<>!~;\[ ]", line, maxsplit=1)[0]
        if not name or name.startswith("#"):
            continue
        try:
            rows.append("| {} | {} | {} |".format(name, *licence(name)))
        except metadata.PackageNotFoundError:
            continue
    return HEADER + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {page().count(chr(10)) - HEADER.count(chr(10))} packages", file=sys.stderr)
