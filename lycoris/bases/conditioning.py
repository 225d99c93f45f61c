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
        lengths: number of states of each prompt where they differ; the rest of a row are zeros that the denoiser does
            not get. None where every row is full.
    """

    hidden_states: Float[Tensor, "batch tokens width"]
    pooled: Float[Tensor, "batch pooled_width"] | None = None
    lengths: tuple[int, ...] | None = None

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.hidden_states)

    def __getitem__(self, rows: slice | Sequence[int] | Int[Tensor, " rows"]) -> TextConditioning:
        """Select prompts, in the order of the indices; an index may occur more than once."""
        lengths = self.lengths
        if lengths is not None:
            lengths = tuple(lengths[row] for row in torch.arange(len(self))[rows].tolist())
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows, dtype=torch.long, device=self.hidden_states.device)
        hidden_states = _select_rows(self.hidden_states, rows)
        pooled = None if self.pooled is None else _select_rows(self.pooled, rows)
        return TextConditioning(hidden_states, pooled, lengths)._without_padding()

    @property
    def tensors(self) -> list[Tensor]:
        """The hidden states, and the pooled vectors if there are any."""
        return [self.hidden_states] if self.pooled is None else [self.hidden_states, self.pooled]

    def to(self, target: torch.dtype | torch.device | str) -> TextConditioning:
        """Convert every tensor to a precision, or move it to a device."""
        pooled = None if self.pooled is None else self.pooled.to(target)
        return TextConditioning(self.hidden_states.to(target), pooled, self.lengths)

    def rows_by_length(self) -> list[list[int]]:
        """The rows of each number of states, in ascending order of the number."""
        return group_rows(self.lengths or [0] * len(self))

    @staticmethod
    def cat(parts: Sequence[TextConditioning]) -> TextConditioning:
        """Concatenate batches of prompts of one family."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        longest = max(part.hidden_states.shape[1] for part in parts)
        lengths = [part.lengths or (part.hidden_states.shape[1],) * len(part) for part in parts]
        hidden_states = torch.cat([_pad_rows(part.hidden_states, longest) for part in parts])
        every = tuple(length for own in lengths for length in own)
        return TextConditioning(hidden_states, torch.cat(pooled) if pooled else None, every)._without_padding()

    def _without_padding(self) -> TextConditioning:
        """The same without columns that are padding in every row."""
        if self.lengths is None:
            return self
        longest = max(self.lengths, default=0)
        lengths = self.lengths if min(self.lengths, default=0) < longest else None
        return TextConditioning(self.hidden_states[:, :longest], self.pooled, lengths)


def require_pooled(conditioning: TextConditioning) -> Float[Tensor, "batch pooled_width"]:
    """Return the pooled vectors, for a family that needs them.

    Raises:
        InputError: there are none, since the conditioning comes from another family.
    """
    if conditioning.pooled is None:
        raise InputError("Argument `conditioning` must have pooled vectors, but its family has none.")
    return conditioning.pooled


def group_rows(values: Sequence[int]) -> list[list[int]]:
    """The rows of each value, in ascending order of the value."""
    return [[row for row, value in enumerate(values) if value == each] for each in sorted(set(values))]


def _pad_rows(states: Tensor, length: int) -> Tensor:
    missing = length - states.shape[1]
    return torch.nn.functional.pad(states, (0, 0, 0, missing)) if missing else states


def _select_rows(tensor: Tensor, rows: slice | Tensor) -> Tensor:
    return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)
