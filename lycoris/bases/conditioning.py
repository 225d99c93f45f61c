"""What a denoiser is told of a prompt, whatever the family: training and sampling pass it on unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lycoris.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Conditions:
    """The conditions of some prompts.

    Attributes:
        states: a sequence of states a prompt, that the denoiser attends to.
        pooled: one vector a prompt, of families that have it (SDXL, SD 3); else None.
    """

    states: Float[Tensor, "batch tokens width"]
    pooled: Float[Tensor, "batch pooled_width"] | None = None

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.states)

    def __getitem__(self, rows: slice | Sequence[int] | Int[Tensor, " rows"]) -> Conditions:
        """The conditions of some prompts, in the order of the indices; one index may come more than once."""
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows, dtype=torch.long, device=self.states.device)
        return Conditions(_rows(self.states, rows), None if self.pooled is None else _rows(self.pooled, rows))

    @property
    def tensors(self) -> list[Tensor]:
        """All there is: the states, and the pooled vectors where the family has them."""
        return [self.states] if self.pooled is None else [self.states, self.pooled]

    @staticmethod
    def cat(some: Sequence[Conditions]) -> Conditions:
        """The conditions of several groups of prompts of one family, one after another."""
        pooled = [one.pooled for one in some if one.pooled is not None]
        return Conditions(torch.cat([one.states for one in some]), torch.cat(pooled) if pooled else None)


def pooled_of(conditions: Conditions) -> Float[Tensor, "batch pooled_width"]:
    """The pooled vectors, for a family that cannot do without.

    Raises:
        InputError: there are none: the conditions are of another family.
    """
    if conditions.pooled is None:
        raise InputError("Argument `conditions` must have a pooled state, but is of a family that has none.")
    return conditions.pooled


def _rows(part: Tensor, rows: slice | Tensor) -> Tensor:
    return part[rows] if isinstance(rows, slice) else part.index_select(0, rows)
