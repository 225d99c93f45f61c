"""Measurements of a run so far, saved with its checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from lycoris.training.timestep_bins import TIMESTEP_BINS, bin_means

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor


@dataclass
class History:
    """Curves of a run.

    Attributes:
        losses: mean loss of each step's batch.
        bin_sums: each step's losses by timestep bin, from `lycoris.training.timestep_bins.bin_sums`.
        callback_records: what callbacks returned: ``"count"``, ``"step"``, ``"epoch"`` and their numbers.
    """

    losses: list[float] = field(default_factory=list)
    bin_sums: list[Float[Tensor, "2 bins"]] = field(default_factory=list)
    callback_records: list[dict[str, float]] = field(default_factory=list)

    def tensors(self) -> dict[str, Tensor]:
        """The curves with one point per step, by name."""
        sums = torch.stack(self.bin_sums) if self.bin_sums else torch.zeros(0, 2, len(TIMESTEP_BINS))
        return {"losses": torch.tensor(self.losses, dtype=torch.float64), "bin_sums": sums}

    def callback_json(self) -> str:
        """The callbacks' records as JSON."""
        return json.dumps(self.callback_records)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], text: str) -> History:
        """Restore a history from `tensors()` and `callback_json()`."""
        return cls(tensors["losses"].tolist(), list(tensors["bin_sums"]), json.loads(text))

    def binned_losses(self) -> dict[str, list[float | None]]:
        """Bin to mean loss of each step; None if the step had no image in the bin."""
        means = [bin_means(sums) for sums in self.bin_sums]
        return {name: [values[position] for values in means] for position, name in enumerate(TIMESTEP_BINS)}
