"""The error for wrong user input, and what its messages share: lists of names, hints for misspelt ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


class InputError(ValueError):
    """An input is wrong; the message names the argument, the rule and the value."""


def list_names(names: Sequence[str], limit: int = 3) -> str:
    """List the first names in backticks, with dots where there are more."""
    return ", ".join(f"`{name}`" for name in names[:limit]) + (" ..." if len(names) > limit else "")


def unknown_name_error(kind: str, name: object, known: Iterable[str]) -> InputError:
    """Build the error for a name that is not in a table, with the nearest known name as a hint.

    Args:
        kind: what the name stands for, in the singular: ``"algorithm"``, ``"option"``.
        name: the unknown name.
        known: the names in the table.

    Returns:
        The error, for the caller to raise.
    """
    names = sorted(str(entry) for entry in known)
    nearest = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean `{nearest[0]}`?" if nearest else ""
    return InputError(f"Unknown {kind} `{name}`.{hint} Known: {', '.join(names)}.")


def missing_path_error(kind: str, path: str | Path) -> InputError:
    """Build the error for a file or folder that does not exist, with the nearest name beside it as a hint.

    Args:
        kind: what it is: ``"data folder"``.
        path: of the missing file or folder.

    Returns:
        The error, for the caller to raise.
    """
    return InputError(f"There is no {kind} `{path}`.{nearest_path_hint(path)}")


def nearest_path_hint(path: str | Path) -> str:
    """Return a sentence that names the entry beside a missing path whose name is nearest; empty where none is near.

    Where a folder on the way is missing, the hint is about that folder. A path that exists has no hint.
    """
    path = Path(path)
    if path.exists():
        return ""
    while path.parent != path and not path.parent.is_dir():
        path = path.parent
    try:
        beside = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    except OSError:
        return ""
    nearest = difflib.get_close_matches(path.name, beside, n=1)
    return f" Did you mean `{path.parent / nearest[0]}`?" if nearest else ""


def hub_failure(name: str, error: Exception) -> str:
    """Why a model could not be fetched from the Hugging Face hub, in one sentence.

    Args:
        name: ``owner/model``.
        error: of `huggingface_hub`.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return f"The hub asks for access to `{name}`: accept its conditions on its page, and set HF_TOKEN."
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return f"The hub has no model `{name}`, or it is private: check the spelling."
    if constants.HF_HUB_OFFLINE:
        return f"`{name}` is not in the hub's cache, and HF_HUB_OFFLINE forbids to download it."
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, HfHubHTTPError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None and cause.response is not None:
        return f"The hub answered with error {cause.response.status_code} for `{name}`: try again later."
    return f"The hub could not be reached, and `{name}` is not in its cache: check the network."
