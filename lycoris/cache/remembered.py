"""Small answers that need seconds of imports and depend on their inputs only: computed once for the same inputs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from lycoris.cache.atomic import atomic_write_text
from lycoris.cache.keys import source_hash, stage_key

ANSWERS_DIR = "answers"
"""Folder of a store with a JSON file for each answer."""
CODE = ("adapters", "bases", "training")
"""Code below ``lycoris`` on which the answers depend."""
METADATA_SUFFIXES = {".dist-info", ".egg-info"}
"""Endings of the folders that installers write for a distribution, beside its modules."""


def remember(store: Path, question: str, inputs: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
    """Return what was computed from the same inputs, code and packages before, or compute it.

    Args:
        store: folder of the artifact store, where answers are kept if the output folder exists.
        question: a name.
        inputs: everything else that the answer depends on, as JSON values.
        compute: returns the answer, as JSON values; an error is raised again each time.

    Returns:
        The answer.
    """
    surroundings = {"code": source_hash(*CODE), "packages": _installed_packages(), "python": sys.version}
    file = store / ANSWERS_DIR / f"{stage_key(question, {**inputs, **surroundings})}.json"
    with suppress(OSError, ValueError):
        return json.loads(file.read_text(encoding="utf-8"))
    answer = compute()
    if store.parent.is_dir():  # a plan leaves no folder behind
        with suppress(OSError):  # a folder that cannot be written is named where results are written
            atomic_write_text(file, json.dumps(answer))
    return answer


@cache
def _installed_packages() -> list[str]:
    """Names and versions of all installed distributions, by the folders of their metadata."""
    folders = [Path(entry) for entry in dict.fromkeys(sys.path) if Path(entry).is_dir()]
    return sorted({file.name for folder in folders for file in folder.iterdir() if file.suffix in METADATA_SUFFIXES})
