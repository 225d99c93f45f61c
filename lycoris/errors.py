"""The one kind of error that is the user's to mend, and the hint that goes with a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something that was given is wrong; the message names what, the rule, and the value."""


def unknown_name_error(kind: str, name: object, known: Iterable[str]) -> InputError:
    """An error for a name that is not in a table, offering the nearest one that is.

    Args:
        kind: what the name should have been, in the singular: ``"algorithm"``, ``"option"``.
        name: what was given.
        known: the names of the table.

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(str(entry) for entry in known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return InputError(f"Unknown {kind} `{name}`.{hint} Known: {', '.join(names)}.")
