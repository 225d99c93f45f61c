"""The studies that the repository has: their names and questions, read without what runs them."""

from __future__ import annotations

import re

from flows.config.project import resource

STUDIES_FOLDER = resource("studies")


def study_names() -> list[str]:
    """Return the names of the studies in ``studies/``."""
    return sorted(file.stem for file in STUDIES_FOLDER.glob("*.yaml"))


def study_question(name: str) -> str:
    """Return the question of a study in ``studies/``, which stands on one line of its file."""
    text = (STUDIES_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    found = re.search(r"^question: *(.+)$", text, re.MULTILINE)
    return found[1].strip().strip("\"'") if found else ""
