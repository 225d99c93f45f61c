"""Snapshots of models from the Hugging Face hub, or from its cache when offline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lycoris.errors import InputError


def is_hub_name(name: str) -> bool:
    """Whether a name has the form ``owner/model``."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def download_snapshot(name: str, patterns: Sequence[str], failure: str, ignore: Sequence[str] = ()) -> Path:
    """Download a model's files that match some patterns.

    Args:
        name: ``owner/model``.
        patterns: globs of the files.
        failure: the error message if the hub does not have them or does not answer; the reason is appended.
        ignore: globs of files to leave out.

    Raises:
        InputError: the files are neither on the hub nor in its cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=list(ignore)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(f"{failure} ({str(error).strip().splitlines()[0]})") from error
