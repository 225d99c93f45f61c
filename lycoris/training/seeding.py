"""Random numbers as a function of the seed and of the position in the run.

No state is carried from step to step: a run that resumes at step 500 gets the numbers that it would have had, and none
depends on how many were drawn elsewhere.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *scope: str | int) -> int:
    """Derive a 63-bit seed for one scope of a run: SHA-256 of the run's seed and the scope's names."""
    text = "/".join(map(str, (seed, *scope)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_generator(seed: int, *scope: str | int) -> torch.Generator:
    """Create a CPU generator for one scope of a run, so that every device gets the same numbers."""
    return torch.Generator().manual_seed(derive_seed(seed, *scope))


class EpochSampler:
    """Which images each step has: shuffled epochs, one after another, cut into batches.

    Args:
        image_count: number of images.
        batch_size: images per step; a batch may extend into the next epoch.
        seed: seed of the run.
        name: distinguishes the shuffles of two samplers.
    """

    def __init__(self, image_count: int, batch_size: int, seed: int, name: str = "epoch") -> None:
        self.image_count, self.batch_size, self.seed, self.name = image_count, batch_size, seed, name
        self._epochs: dict[int, list[int]] = {}

    def __call__(self, step: int) -> list[int]:
        """Indices of the images of a step; steps count from 0."""
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = {position // self.image_count for position in positions}
        self._epochs = {epoch: self._epochs.get(epoch) or self._shuffle(epoch) for epoch in epochs}
        return [self._epochs[position // self.image_count][position % self.image_count] for position in positions]

    def _shuffle(self, epoch: int) -> list[int]:
        return torch.randperm(self.image_count, generator=derive_generator(self.seed, self.name, epoch)).tolist()
