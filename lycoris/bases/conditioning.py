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
class TextConditioning:
    """The conditions of some prompts.

    Attributes:
        states: a sequence of states a prompt, that the denoiser attends to.
        pooled: one vector a prompt, of families that have it (SDXL, SD 3); else None.
    """

    hidden_states: Float[Tensor, "batch tokens width"]
    pooled: Float[Tensor, "batch pooled_width"] | None = None

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.hidden_states)

    def __getitem__(self, rows: slice | Sequence[int] | Int[Tensor, " rows"]) -> TextConditioning:
        """The conditions of some prompts, in the order of the indices; one index may come more than once."""
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows, dtype=torch.long, device=self.hidden_states.device)
        return TextConditioning(
            _select_rows(self.hidden_states, rows), None if self.pooled is None else _select_rows(self.pooled, rows)
        )

    @property
    def tensors(self) -> list[Tensor]:
        """All there is: the states, and the pooled vectors where the family has them."""
        return [self.hidden_states] if self.pooled is None else [self.hidden_states, self.pooled]

    @staticmethod
    def cat(parts: Sequence[TextConditioning]) -> TextConditioning:
        """The conditions of several groups of prompts of one family, one after another."""
        pooled = [one.pooled for one in parts if one.pooled is not None]
        return TextConditioning(torch.cat([one.hidden_states for one in parts]), torch.cat(pooled) if pooled else None)


def require_pooled(conditioning: TextConditioning) -> Float[Tensor, "batch pooled_width"]:
    """The pooled vectors, for a family that cannot do without.

    Raises:
        InputError: there are none: the conditions are of another family.
    """
    if conditioning.pooled is None:
        raise InputError("Argument `conditions` must have a pooled state, but is of a family that has none.")
    return conditioning.pooled


def _select_rows(tensor: Tensor, rows: slice | Tensor) -> Tensor:
    return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)
