"""What a study confirms of the expectations that were sealed before it ran, as its page prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SealLine:
    """One seal: when it was made, its hash, the code's version, whether the study had begun already, its number."""

    sealed_at: str
    hash: str
    code: str
    after_results: bool
    number: int


@dataclass(frozen=True)
class SealedAnswer:
    """The first section of a sealed study's page.

    Attributes:
        notes: what comes first, in sentences.
        groups: verdict -> the expectations with it, in sentences; a single group ``Exploration`` where nothing can be
            confirmed.
        rule: how it was decided.
        seals: the seals, the valid one first.
    """

    notes: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    rule: str
    seals: Sequence[SealLine]

    @property
    def confirms(self) -> bool:
        """Whether the results were decided, as the seal came first."""
        return "Exploration" not in self.groups

    @property
    def sentences(self) -> list[str]:
        """Everything that the command line prints."""
        decided = [f"{verdict}: {line}" for verdict, lines in self.groups.items() for line in lines]
        return [*self.notes[:1], *decided, *self.notes[1:], self.rule]
