"""One voter's session: the pair to show, the answer, undo."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from flows.studies.votes.pairs import Pair, StudyPairs
from flows.studies.votes.vote_file import ANSWERS, StoredVote, VoteFile
from lycoris.analysis.statistics.preference_strengths import Answer


@dataclass(frozen=True)
class Progress:
    """How far a session is.

    Attributes:
        done: votes of this voter.
        wanted: votes after which the session ends.
        pair: the pair to show; None at the end.
    """

    done: int
    wanted: int
    pair: Pair | None


class VotingSession:
    """Votes of one voter on a study, kept in its folder; a later session of the same voter goes on.

    Args:
        folder: of the study.
        voter: a name.
        seed: of the order of pairs and of their sides.
        wanted: after how many votes of this voter the session ends.

    Raises:
        InputError: as for `StudyPairs` and `VoteFile`.
    """

    def __init__(self, folder: Path, *, voter: str = "", seed: int = 0, wanted: int = 60) -> None:
        self.pairs = StudyPairs(folder, seed)
        self.file = VoteFile(folder)
        self.voter = voter
        self.wanted = min(wanted, len(self.pairs))
        self._current: Pair | None = None

    @property
    def progress(self) -> Progress:
        """The pair to show and how many were answered."""
        shown = [pair for vote in self.file.of_voter(self.voter) if (pair := self.pairs.find(vote.pair)) is not None]
        done = len(shown)
        self._current = self.pairs.next_pair(shown) if done < self.wanted else None
        return Progress(done, self.wanted, self._current)

    def answer(self, pair_id: str, answer: str) -> bool:
        """Store an answer to the pair that is shown; False for another pair or an unknown answer."""
        pair = self._current or self.progress.pair
        if pair is None or pair.id != pair_id or answer not in ANSWERS:
            return False
        known: Answer = next(one for one in ANSWERS if one == answer)
        self.file.add(
            StoredVote(
                pair.id, pair.concept, pair.left.adapter, pair.right.adapter, pair.left.setting, pair.right.setting,
                known, self.voter, round(time.time(), 3),
            )
        )  # fmt: skip
        self._current = None
        return True

    def undo(self) -> bool:
        """Revoke the voter's last vote; False where there is none."""
        self._current = None
        return self.file.undo(self.voter) is not None

    def image(self, pair_id: str, side: str) -> Path | None:
        """Return the image of one side of the pair that is shown."""
        pair = self._current or self.progress.pair
        if pair is None or pair.id != pair_id or side not in ("left", "right"):
            return None
        return (pair.left if side == "left" else pair.right).image
