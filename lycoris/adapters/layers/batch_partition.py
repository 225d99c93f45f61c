"""Several networks on one base at once: which rows of the batch are whose, and whose random numbers are drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class BatchPartition:
    """A network's part in a batch that it shares with others.

    Attributes:
        rows: first, and one behind the last, of the batch's rows on which the network acts.
        total: rows of the whole batch.
        state: of the network's own stream of random numbers, as `torch.get_rng_state` gives it.
    """

    rows: tuple[int, int] = (0, 0)
    total_rows: int = 1
    rng_state: Tensor | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no row is the network's."""
        return self.rows[0] == self.rows[1]

    def reset_stream(self, seed: int) -> None:
        """Start the stream anew."""
        with torch.random.fork_rng(devices=[]):
            self.rng_state = torch.manual_seed(seed).get_state()

    @contextlib.contextmanager
    def random_stream(self) -> Iterator[None]:
        """Draws inside come from the network's own stream, as if it were alone."""
        outside = torch.get_rng_state()
        if self.rng_state is not None:
            torch.set_rng_state(self.rng_state)
        try:
            yield
        finally:
            self.rng_state = torch.get_rng_state()
            torch.set_rng_state(outside)
