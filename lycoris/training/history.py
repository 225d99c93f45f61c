"""What was measured of a run so far, kept with its state."""

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
        bands: each step's sums and counts, as `band_sums` gives them.
        seen: what looks have found: ``"count"``, ``"step"``, ``"epoch"`` and the look's own numbers.
    """

    losses: list[float] = field(default_factory=list)
    bin_sums: list[Float[Tensor, "2 bands"]] = field(default_factory=list)
    callback_records: list[dict[str, float]] = field(default_factory=list)

    def tensors(self) -> dict[str, Tensor]:
        """The curves with a point a step, by name."""
        sums = torch.stack(self.bin_sums) if self.bin_sums else torch.zeros(0, 2, len(TIMESTEP_BINS))
        return {"losses": torch.tensor(self.losses, dtype=torch.float64), "bands": sums}

    def callback_json(self) -> str:
        """What was seen, as JSON."""
        return json.dumps(self.callback_records)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], text: str) -> History:
        """The record that `tensors` and `text` were made of."""
        return cls(tensors["losses"].tolist(), list(tensors["bands"]), json.loads(text))

    def binned_losses(self) -> dict[str, list[float | None]]:
        """Band to mean loss of each step; None where no picture of the step was in it."""
        means = [bin_means(sums) for sums in self.bin_sums]
        return {name: [each[place] for each in means] for place, name in enumerate(TIMESTEP_BINS)}
