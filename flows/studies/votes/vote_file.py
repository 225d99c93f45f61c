"""The file of votes in a study's folder: one line each, only ever appended to."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from lycoris.analysis.statistics.preference_strengths import Answer, Vote
from lycoris.errors import InputError

VOTES_FILE = "votes.jsonl"
ANSWERS: tuple[Answer, ...] = get_args(Answer)


@dataclass(frozen=True)
class StoredVote:
    """One vote as it is stored.

    Attributes:
        pair: id of the pair.
        concept: name of the concept.
        left, right: names of the adapters.
        left_setting, right_setting: their settings.
        answer: which side is better, or ``"tie"``.
        voter: who voted.
        time: seconds since 1970.
    """

    pair: str
    concept: str
    left: str
    right: str
    left_setting: str
    right_setting: str
    answer: Answer
    voter: str
    time: float

    @property
    def on_settings(self) -> Vote:
        """The vote between the two settings."""
        return Vote(self.left_setting, self.right_setting, self.answer, self.voter)


class VoteFile:
    """The votes of a study.

    A vote is one line, written and synced at once. A line that an interruption cut off is left out, and named in
    `incomplete`. `undo` appends a line that revokes the voter's last vote.

    Args:
        folder: of the study.

    Attributes:
        path: the file.
        votes: all votes that stand, in order.
        incomplete: number of lines that are not whole.

    Raises:
        InputError: the file cannot be read, or a whole line is no vote.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / VOTES_FILE
        self.votes: list[StoredVote] = []
        self.incomplete = 0
        if not os.path.lexists(self.path):
            return
        if self.path.is_symlink() or not self.path.is_file():
            raise InputError(f"File `{self.path}` must be a file, but is a link or a folder.")
        try:
            text = self.path.read_bytes().decode("utf-8", errors="replace")
        except OSError as error:
            raise InputError(f"File `{self.path}` cannot be read: {error.strerror}.") from error
        for number, line in enumerate(text.split("\n"), start=1):
            if line:
                self._read_line(line, number)

    def _read_line(self, line: str, number: int) -> None:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            self.incomplete += 1
            return
        if isinstance(values, dict) and set(values) == {"undo", "voter", "time"}:
            self._revoke(str(values["voter"]))
            return
        try:
            vote = StoredVote(**values)
            is_valid = vote.answer in ANSWERS and all(
                isinstance(getattr(vote, name), str) for name in StoredVote.__annotations__ if name != "time"
            )
        except TypeError:
            is_valid = False
        if not is_valid:
            raise InputError(f"File `{self.path}`, line {number}, is no vote: `{line[:100]}`.")
        self.votes.append(vote)

    def add(self, vote: StoredVote) -> None:
        """Append a vote.

        Raises:
            InputError: the file cannot be written.
        """
        self._append(asdict(vote))
        self.votes.append(vote)

    def undo(self, voter: str) -> StoredVote | None:
        """Revoke the last vote of a voter, and return it; None where there is none.

        Raises:
            InputError: the file cannot be written.
        """
        if not any(vote.voter == voter for vote in self.votes):
            return None
        self._append({"undo": True, "voter": voter, "time": round(time.time(), 3)})
        return self._revoke(voter)

    def _revoke(self, voter: str) -> StoredVote | None:
        last = next((n for n in range(len(self.votes) - 1, -1, -1) if self.votes[n].voter == voter), None)
        return None if last is None else self.votes.pop(last)

    def of_voter(self, voter: str) -> Sequence[StoredVote]:
        """Return the votes of one voter, in order."""
        return [vote for vote in self.votes if vote.voter == voter]

    def _append(self, values: dict[str, Any]) -> None:
        """Write one line with one call, after the end of a line that was cut off."""
        line = json.dumps(values, ensure_ascii=False, sort_keys=True).encode() + b"\n"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        try:
            handle = os.open(self.path, flags, 0o644)
            try:
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b"\n":
                    line = b"\n" + line
                os.write(handle, line)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise InputError(f"File `{self.path}` cannot be written: {error.strerror}.") from error
