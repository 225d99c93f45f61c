"""Encoded prompts, in the form in which training and sampling pass them to the denoiser of any family."""

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
    """The text conditioning of a batch of prompts.

    Attributes:
        hidden_states: a sequence of states per prompt, which the denoiser attends to.
        pooled: one vector per prompt in families that use it (SDXL, SD 3), else None.
    """

    hidden_states: Float[Tensor, "batch tokens width"]
    pooled: Float[Tensor, "batch pooled_width"] | None = None

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.hidden_states)

    def __getitem__(self, rows: slice | Sequence[int] | Int[Tensor, " rows"]) -> TextConditioning:
        """Select prompts, in the order of the indices; an index may occur more than once."""
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows, dtype=torch.long, device=self.hidden_states.device)
        return TextConditioning(
            _select_rows(self.hidden_states, rows), None if self.pooled is None else _select_rows(self.pooled, rows)
        )

    @property
    def tensors(self) -> list[Tensor]:
        """The hidden states, and the pooled vectors if there are any."""
        return [self.hidden_states] if self.pooled is None else [self.hidden_states, self.pooled]

    def to(self, target: torch.dtype | torch.device | str) -> TextConditioning:
        """Convert every tensor to a precision, or move it to a device."""
        return TextConditioning(*(tensor.to(target) for tensor in self.tensors))

    @staticmethod
    def cat(parts: Sequence[TextConditioning]) -> TextConditioning:
        """Concatenate batches of prompts of one family."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        hidden_states = torch.cat([part.hidden_states for part in parts])
        return TextConditioning(hidden_states, torch.cat(pooled) if pooled else None)


def require_pooled(conditioning: TextConditioning) -> Float[Tensor, "batch pooled_width"]:
    """Return the pooled vectors, for a family that needs them.

    Raises:
        InputError: there are none, since the conditioning comes from another family.
    """
    if conditioning.pooled is None:
        raise InputError("Argument `conditioning` must have pooled vectors, but its family has none.")
    return conditioning.pooled


def _select_rows(tensor: Tensor, rows: slice | Tensor) -> Tensor:
    return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)
