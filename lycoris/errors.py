"""The error for wrong user input, and the hint for a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """An input is wrong; the message names the argument, the rule and the value."""


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
