"""Encoded prompts, in the form in which training and sampling pass them to the denoiser of any family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lycoris.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

MASK = "mask"


class TextConditioning:
    """The text conditioning of a batch of prompts: named tensors with one row per prompt.

    A floating-point tensor of two dimensions is one vector per prompt; any other has tokens in its second dimension.
    Where prompts of unequal length are joined, the shorter ones are padded with zeros; the mask says which tokens are
    whose, or without a mask the lengths do.

    Args:
        hidden_states: a sequence of states per prompt, which the denoiser attends to; in some families a token has the
            states of several layers, in a further dimension.
        pooled: one vector per prompt in families that use it (SDXL, SD 3, FLUX.1), else None.
        lengths: number of states of each prompt where they differ and there is no mask; the rest of a row are zeros
            that the denoiser does not get. None where every row is full.
        mask: which tokens are the prompt's own, in families whose denoiser reads that, else None.
        named: further tensors, by the names of their family.

    Raises:
        InputError: the tensors differ in the number of prompts.
    """

    def __init__(
        self,
        hidden_states: Float[Tensor, "batch tokens *width"],
        pooled: Float[Tensor, "batch pooled_width"] | None = None,
        lengths: tuple[int, ...] | None = None,
        *,
        mask: Bool[Tensor, "batch tokens"] | None = None,
        **named: Tensor,
    ) -> None:
        self.lengths = lengths
        given = {"hidden_states": hidden_states, "pooled": pooled, MASK: mask, **named}
        self._named = {name: tensor for name, tensor in given.items() if tensor is not None}
        counts = {name: len(tensor) for name, tensor in self._named.items()}
        if len(set(counts.values())) > 1:
            raise InputError(f"The tensors of a text conditioning must have one row per prompt, but have {counts}.")

    @property
    def named(self) -> Mapping[str, Tensor]:
        """Every tensor by its name."""
        return self._named

    @property
    def hidden_states(self) -> Float[Tensor, "batch tokens *width"]:
        """The states that the denoiser attends to."""
        return self._named["hidden_states"]

    @property
    def pooled(self) -> Float[Tensor, "batch pooled_width"] | None:
        """One vector per prompt, or None."""
        return self._named.get("pooled")

    @property
    def mask(self) -> Bool[Tensor, "batch tokens"] | None:
        """Which tokens are the prompt's own, or None."""
        return self._named.get(MASK)

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
        selected = {name: _select_rows(tensor, rows) for name, tensor in self._named.items()}
        return TextConditioning(**selected, lengths=lengths)._without_padding()

    @property
    def tensors(self) -> list[Tensor]:
        """Every tensor: the hidden states first, then the pooled vectors if there are any, and so on."""
        return list(self._named.values())

    def to(self, target: torch.dtype | torch.device | str) -> TextConditioning:
        """Convert every floating-point tensor to a precision, or move every tensor to a device."""
        keeps = isinstance(target, torch.dtype)
        converted: dict[str, Any] = {
            name: tensor if keeps and not tensor.is_floating_point() else tensor.to(target)
            for name, tensor in self._named.items()
        }
        return TextConditioning(**converted, lengths=self.lengths)

    def rows_by_length(self) -> list[list[int]]:
        """The rows of each number of states, in ascending order of the number."""
        return group_rows(self.lengths or [0] * len(self))

    def trim(self) -> TextConditioning:
        """Cut the padding off that every prompt of the batch ends with; without a mask there is none."""
        if self.mask is None:
            return self
        length = max(1, int(self.mask.any(dim=0).nonzero().max()) + 1) if self.mask.any() else 1
        trimmed: dict[str, Any] = {
            name: tensor[:, :length] if _has_tokens(tensor) else tensor for name, tensor in self._named.items()
        }
        return TextConditioning(**trimmed)

    def lists(self) -> list[Float[Tensor, "_ width"]]:
        """Each prompt's states without padding.

        Raises:
            InputError: there is no mask.
        """
        return [states[mask] for states, mask in zip(self.hidden_states, require(self, MASK), strict=True)]

    @staticmethod
    def cat(parts: Sequence[TextConditioning]) -> TextConditioning:
        """Concatenate batches of prompts of one family.

        Raises:
            InputError: the batches have different tensors.
        """
        names = list(parts[0].named)
        if any(list(part.named) != names for part in parts):
            raise InputError("The text conditionings must be of one family, but have different tensors.")
        lengths: tuple[int, ...] | None = None
        if MASK not in names:
            lengths = tuple(length for part in parts for length in part.lengths or _full_lengths(part))
        joined = {name: _cat([part.named[name] for part in parts]) for name in names}
        return TextConditioning(**joined, lengths=lengths)._without_padding()

    def _without_padding(self) -> TextConditioning:
        """The same without columns that are padding in every row, as the lengths say."""
        if self.lengths is None:
            return self
        longest = max(self.lengths, default=0)
        lengths = self.lengths if min(self.lengths, default=0) < longest else None
        hidden_states = {"hidden_states": self.hidden_states[:, :longest]}
        return TextConditioning(**{**self._named, **hidden_states}, lengths=lengths)

    @staticmethod
    def from_lists(states: Sequence[Float[Tensor, "_ width"]]) -> TextConditioning:
        """Pad states of unequal length with zeros, with the mask of each prompt's own."""
        lengths = torch.tensor([len(each) for each in states], device=states[0].device)
        padded = nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        return TextConditioning(padded, mask=torch.arange(padded.shape[1], device=lengths.device) < lengths[:, None])


def require(conditioning: TextConditioning, name: str) -> Tensor:
    """Return a tensor of a conditioning by its name.

    Raises:
        InputError: there is none, since the conditioning comes from another family.
    """
    if name not in conditioning.named:
        raise InputError(f"Argument `conditioning` must have `{name}`, but has {', '.join(conditioning.named)}.")
    return conditioning.named[name]


def require_pooled(conditioning: TextConditioning) -> Float[Tensor, "batch pooled_width"]:
    """Return the pooled vectors, for a family that needs them.

    Raises:
        InputError: there are none, since the conditioning comes from another family.
    """
    return require(conditioning, "pooled")


def _has_tokens(tensor: Tensor) -> bool:
    return tensor.dim() > 2 or not tensor.is_floating_point()


def group_rows(values: Sequence[int]) -> list[list[int]]:
    """The rows of each value, in ascending order of the value."""
    return [[row for row, value in enumerate(values) if value == each] for each in sorted(set(values))]


def _full_lengths(part: TextConditioning) -> tuple[int, ...]:
    return (part.hidden_states.shape[1],) * len(part)


def _cat(tensors: Sequence[Tensor]) -> Tensor:
    if not _has_tokens(tensors[0]):
        return torch.cat(list(tensors))
    longest = max(tensor.shape[1] for tensor in tensors)
    return torch.cat([_pad(tensor, longest) for tensor in tensors])


def _pad(tensor: Tensor, length: int) -> Tensor:
    if tensor.shape[1] == length:
        return tensor
    padding = tensor.new_zeros(len(tensor), length - tensor.shape[1], *tensor.shape[2:])
    return torch.cat([tensor, padding], dim=1)


def _select_rows(tensor: Tensor, rows: slice | Tensor) -> Tensor:
    return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)
