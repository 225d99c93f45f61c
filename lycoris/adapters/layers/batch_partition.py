"""A network's part of a batch, and its random stream, where several networks are trained together on one base."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class BatchPartition:
    """A network's part of a batch that it shares with others.

    Attributes:
        rows: first row, and one past the last, on which the network acts.
        total_rows: number of rows of the whole batch.
        rng_state: state of the network's own random stream, as `torch.get_rng_state` returns it.
    """

    rows: tuple[int, int] = (0, 0)
    total_rows: int = 1
    rng_state: Tensor | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the network has no row."""
        return self.rows[0] == self.rows[1]

    def reset_stream(self, seed: int) -> None:
        """Restart the random stream from a seed."""
        with torch.random.fork_rng(devices=[]):
            self.rng_state = torch.manual_seed(seed).get_state()

    @contextlib.contextmanager
    def random_stream(self) -> Iterator[None]:
        """Return a context in which random numbers come from the network's own stream, as if it trained alone."""
        outer_state = torch.get_rng_state()
        if self.rng_state is not None:
            torch.set_rng_state(self.rng_state)
        try:
            yield
        finally:
            self.rng_state = torch.get_rng_state()
            torch.set_rng_state(outer_state)
