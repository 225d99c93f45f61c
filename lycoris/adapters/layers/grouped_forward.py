"""One frozen operation for the rows of several networks, each with its own change of the weight."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lycoris.adapters.structures.structures import Hadamard, LowRank, Operation, Structure, is_unit_scale
from lycoris.errors import InputError

if TYPE_CHECKING:
    from lycoris.adapters.algorithms.adapter import Adapter


def row_segments(adapters: Sequence[Adapter], rows: int) -> list[tuple[int, list[Adapter]]]:
    """The rows of a layer's input, cut where those of another network begin.

    Args:
        adapters: of one layer, each with a share or without, for all rows.
        rows: of the input; the batch is its leading axis, by itself or with positions behind it.

    Returns:
        Numbers of rows, in order, with the adapters that act on them.

    Raises:
        InputError: the rows are no multiple of the batch's.
    """
    total = next(adapter.batch_partition.total_rows for adapter in adapters if adapter.batch_partition is not None)
    if rows % total:
        raise InputError(f"Networks trained together need the batch of {total} leading, but a layer has {rows} rows.")
    each = rows // total
    of = [
        (0, rows) if a.batch_partition is None else (a.batch_partition.rows[0] * each, a.batch_partition.rows[1] * each)
        for a in adapters
    ]
    cuts = sorted({0, rows, *(cut for own in of for cut in own)})
    return [
        (stop - start, [adapter for adapter, (first, last) in zip(adapters, of, strict=True) if first <= start < last])
        for start, stop in itertools.pairwise(cuts)
    ]


def add_grouped_updates(
    op: Operation, x: Tensor, y: Tensor, structures: Sequence[Structure], rows: Sequence[int]
) -> Tensor:
    """The frozen operation's output with each structure's change of its own rows.

    Args:
        op: the layer's operation.
        x: [rows, in] or [batch, in, *space], all rows.
        y: the frozen output of `x`.
        structures: one for each number of rows.
        rows: how many of `x`'s leading axis are each structure's, in order.
    """
    if len(structures) == 1:
        return structures[0].apply(op, x, y)
    thin = [each.as_low_rank() if isinstance(each, Hadamard) else each for each in structures]
    low_ranks = [each for each in thin if isinstance(each, LowRank)]
    shapes = {(*each.up.shape, *each.down.shape) for each in low_ranks}
    if len(low_ranks) == len(thin) and op.groups == len(shapes) == len(set(rows)) == 1:
        return _batched_low_ranks(op, x.to(y.dtype), y, low_ranks)
    pieces = [each.apply(op, piece.to(y.dtype)) for each, piece in zip(thin, x.split(list(rows)), strict=True)]
    return y + torch.cat(pieces)


def _batched_low_ranks(op: Operation, x: Tensor, y: Tensor, low_ranks: Sequence[LowRank]) -> Tensor:
    """Low ranks of one shape as batched matrix products."""
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
        wide = op(x, down.flatten(0, 1)).unflatten(0, (count, -1)).unflatten(2, (count, rank))
        own = torch.stack([wide[n, :, n] for n in range(count)])  # [networks, rows, rank, *space]
        hidden = own.movedim(2, -1).reshape(count, -1, rank)
    shape = y.permute(channels_last).shape
    added = torch.baddbmm(y.permute(channels_last).reshape(count, -1, y.shape[1]), hidden, up.transpose(1, 2))
    return added.view(shape).permute(0, -1, *range(1, op.dims + 1))
