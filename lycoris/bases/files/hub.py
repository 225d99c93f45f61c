"""Snapshots of models from the Hugging Face hub, or from its cache when offline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lycoris.errors import InputError, hub_failure


def is_hub_name(name: str) -> bool:
    """Whether a name has the form ``owner/model``."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def download_snapshot(name: str, patterns: Sequence[str], failure: str, ignore: Sequence[str] = ()) -> Path:
    """Download a model's files that match some patterns.

    Args:
        name: ``owner/model``.
        patterns: globs of the files.
        failure: the error message if the hub does not have them or does not answer; a sentence with the reason follows.
        ignore: globs of files to leave out.

    Raises:
        InputError: the files are neither on the hub nor in its cache.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=list(ignore)))
    except Exception as error:  # errors of the hub's transport have no class of their own
        raise InputError(f"{failure} {hub_failure(name, error)}") from error
