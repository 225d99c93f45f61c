"""What a check of `lycoris doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of `lycoris doctor`.

    Attributes:
        topic: what was checked.
        state: ``"ok"``; ``"note"``, which limits something; or ``"problem"``, which will make a run fail.
        text: what was found.
        remedy: what to do about it; empty where nothing needs to be done.
    """

    topic: str
    state: Literal["ok", "note", "problem"]
    text: str
    remedy: str = ""
