"""One frozen operation for the rows of several networks, each with its own update of the weight."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lycoris.adapters.structures import Hadamard, LowRank, Operation, Structure, is_unit_scale
from lycoris.errors import InputError

if TYPE_CHECKING:
    from lycoris.adapters.algorithms.adapter import Adapter


def row_segments(adapters: Sequence[Adapter], rows: int) -> list[tuple[int, list[Adapter]]]:
    """Cut the rows of a layer's input where those of another network begin.

    Args:
        adapters: of one layer; one without a batch partition acts on all rows.
        rows: of the input, whose leading axis is the batch, alone or with positions behind it.

    Returns:
        Numbers of rows, in order, each with the adapters that act on them.

    Raises:
        InputError: the number of rows is not a multiple of the batch size.
    """
    total = next(adapter.batch_partition.total_rows for adapter in adapters if adapter.batch_partition is not None)
    if rows % total:
        raise InputError(f"Networks trained together need the batch of {total} leading, but a layer has {rows} rows.")
    repeats = rows // total
    partitions = (adapter.batch_partition for adapter in adapters)
    bounds = [(0, rows) if p is None else (p.rows[0] * repeats, p.rows[1] * repeats) for p in partitions]
    cuts = sorted({0, rows, *(cut for bound in bounds for cut in bound)})
    return [
        (stop - start, [a for a, (first, last) in zip(adapters, bounds, strict=True) if first <= start < last])
        for start, stop in itertools.pairwise(cuts)
    ]


def add_grouped_updates(
    op: Operation, x: Tensor, y: Tensor, structures: Sequence[Structure], rows: Sequence[int]
) -> Tensor:
    """Return the frozen operation's output with each structure's update of its own rows.

    Args:
        op: the layer's operation.
        x: [rows, in] or [batch, in, *space], all rows.
        y: the frozen output of `x`.
        structures: one for each number of rows.
        rows: how many entries of `x`'s leading axis belong to each structure, in order.
    """
    if len(structures) == 1:
        return structures[0].apply(op, x, y)
    structures = [each.as_low_rank() if isinstance(each, Hadamard) else each for each in structures]
    low_ranks = [each for each in structures if isinstance(each, LowRank)]
    shapes = {(*each.up.shape, *each.down.shape) for each in low_ranks}
    if len(low_ranks) == len(structures) and op.groups == len(shapes) == len(set(rows)) == 1:
        return _batched_low_ranks(op, x.to(y.dtype), y, low_ranks)
    pieces = zip(structures, x.split(list(rows)), strict=True)
    return y + torch.cat([structure.apply(op, piece.to(y.dtype)) for structure, piece in pieces])


def _batched_low_ranks(op: Operation, x: Tensor, y: Tensor, low_ranks: Sequence[LowRank]) -> Tensor:
    """Apply low ranks of one shape as batched matrix products."""
    count = len(low_ranks)
    up = torch.stack([each.up if is_unit_scale(each.scale) else each.up * each.scale for each in low_ranks]).to(y.dtype)
    down = torch.stack([each.down for each in low_ranks]).to(y.dtype)
    rank = down.shape[1]
    if op.dims == 0:
        hidden = torch.bmm(x.view(count, -1, x.shape[-1]), down.transpose(1, 2))
        return torch.baddbmm(y.view(count, -1, y.shape[-1]), hidden, up.transpose(1, 2)).view(y.shape)
    channels_last = (0, *range(2, op.dims + 2), 1)
    if set(down.shape[3:]) == set(op.stride) == {1} and not any((*op.padding, *op.pad)):
        flat = x.permute(channels_last).reshape(count, -1, x.shape[1])
        hidden = torch.bmm(flat, down.flatten(2).transpose(1, 2))
    else:
        all_pairs = op(x, down.flatten(0, 1)).unflatten(0, (count, -1)).unflatten(2, (count, rank))
        own = torch.stack([all_pairs[n, :, n] for n in range(count)])  # [networks, rows, rank, *space]
        hidden = own.movedim(2, -1).reshape(count, -1, rank)
    flat_y = y.permute(channels_last)
    updated = torch.baddbmm(flat_y.reshape(count, -1, y.shape[1]), hidden, up.transpose(1, 2))
    return updated.view(flat_y.shape).permute(0, -1, *range(1, op.dims + 1))
