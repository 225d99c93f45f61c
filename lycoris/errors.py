"""The error for wrong user input, and what its messages share: lists of names, hints for misspelt ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


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
