"""Randomness as a function of the seed and of the place in the run.

Nothing is carried from step to step: a run that goes on at step 500 draws what it would have drawn,
and no draw depends on how many were made elsewhere.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *scope: str | int) -> int:
    """A 63-bit seed for one place of a run: SHA-256 of the run's seed and the place's names."""
    text = "/".join(map(str, (seed, *scope)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_generator(seed: int, *scope: str | int) -> torch.Generator:
    """A CPU generator for one place of a run, so that every device sees the same draws."""
    return torch.Generator().manual_seed(derive_seed(seed, *scope))


class EpochSampler:
    """Which pictures a step sees: shuffled epochs, one after another, cut into batches.

    Args:
        pictures: how many there are.
        batch_size: pictures a step; a batch may reach into the next epoch.
        seed: of the run.
        name: sets the shuffles of one order apart from another's.
    """

    def __init__(self, image_count: int, batch_size: int, seed: int, name: str = "epoch") -> None:
        self.image_count, self.batch_size, self.seed, self.name = image_count, batch_size, seed, name
        self._epochs: dict[int, list[int]] = {}

    def __call__(self, step: int) -> list[int]:
        """Indices of the pictures of a step, counted from 0."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = {place // self.image_count for place in places}
        self._epochs = {epoch: self._epochs.get(epoch) or self._shuffle(epoch) for epoch in epochs}
        return [self._epochs[place // self.image_count][place % self.image_count] for place in places]

    def _shuffle(self, epoch: int) -> list[int]:
        return torch.randperm(self.image_count, generator=derive_generator(self.seed, self.name, epoch)).tolist()
