"""Rows of a layer's adapter: a weight that one implementation fuses and another splits, such as q, k and v.

Splitting is exact for every algorithm whose update is a row of the output each, and for LoKr where the rows fall on
its blocks; else a LoKr becomes its dense update, which is exact too. Fusing is exact for LoRA, as one of block-diagonal
`up` whose rank is the sum of the ranks (or the rank itself, where `down` is shared), and for `full`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lycoris.adapters.files.families import OriginalRows
from lycoris.errors import InputError

Tensors = Mapping[str, Tensor]
"""LyCORIS's name of a tensor → values."""

_SHARED = {"lora_down.weight", "lora_mid.weight", "alpha", "on_input", "hada_w1_b", "hada_w2_b", "hada_t1", "hada_t2"}
_SHARED |= {"a1.weight", "a2.weight", "b2.weight"}
_BY_ROW = {"lora_up.weight", "diff", "diff_b", "w_norm", "b_norm", "hada_w1_a", "hada_w2_a", "b1.weight"}
_LORA = {"lora_up.weight", "lora_down.weight", "alpha"}


def member_rows(total: int, inputs: int, members: int) -> list[int] | None:
    """Return how many rows of a fused weight each member has, where there is no model to tell; None where open.

    Args:
        total: rows of the fused weight.
        inputs: its columns, which are also the rows of q, k and v.
        members: 1; 3 for q, k and v; 4 with the feed-forward's rows behind them.
    """
    if members == 1:
        return [total]
    rest = total - 3 * inputs
    if members == 3:
        return [inputs] * 3 if rest == 0 else None
    return [inputs, inputs, inputs, rest] if rest >= 0 else None


def take_rows(tensors: Tensors, rows: OriginalRows) -> dict[str, Tensor]:
    """Return the adapter of one member of a fused layer.

    Args:
        tensors: of the fused layer.
        rows: which of its rows the member has.

    Raises:
        InputError: the tensors have another number of rows, or the algorithm turns all rows together.
    """
    if any(name.startswith("lokr_") for name in tensors):
        return _take_lokr_rows(tensors, rows)
    taken = {}
    for name, values in tensors.items():
        if name in _SHARED:
            taken[name] = values
        elif name == "weight" and "on_input" in tensors:
            taken[name] = values if bool(tensors["on_input"]) else _select(values, values.dim() > 1, rows, name)
        elif name in _BY_ROW or name == "dora_scale":
            is_transposed = name.startswith("hada_") and "hada_t1" in tensors
            taken[name] = _select(values, int(is_transposed), rows, name)
        else:
            raise InputError(f"Tensor `{name}` acts on all rows of a fused layer together, so that it cannot be split.")
    return taken


def _select(values: Tensor, dim: int, rows: OriginalRows, name: str) -> Tensor:
    if values.dim() <= dim or values.shape[dim] != rows.total:
        raise InputError(f"Tensor `{name}` must have {rows.total} rows, but its shape is {list(values.shape)}.")
    if rows.halves_swapped:
        values = torch.cat(values.chunk(2, dim)[::-1], dim)
    return values.narrow(dim, rows.first, rows.count)


def _take_lokr_rows(tensors: Tensors, rows: OriginalRows) -> dict[str, Tensor]:
    outer_name = "lokr_w1" if "lokr_w1" in tensors else "lokr_w1_a"
    outer = tensors.get(outer_name)
    if outer is None or not outer.dim() or not outer.shape[0] or rows.total % outer.shape[0]:
        raise InputError(f"A LoKr of {rows.total} rows has no `lokr_w1` that divides them.")
    block = rows.total // outer.shape[0]
    aligned = rows.first % block == 0 and rows.count % block == 0 and not (rows.halves_swapped and outer.shape[0] % 2)
    magnitude = tensors.get("dora_scale")
    by_row = {} if magnitude is None else {"dora_scale": _select(magnitude, 0, rows, "dora_scale")}
    if not aligned:
        return {"diff": _select(dense_lokr(tensors), 0, rows, "lokr"), **by_row}
    in_blocks = OriginalRows("", 0, rows.first // block, rows.count // block, outer.shape[0], rows.halves_swapped)
    return {**tensors, outer_name: _select(outer, 0, in_blocks, outer_name), **by_row}


def dense_lokr(tensors: Tensors) -> Tensor:
    """Return a LoKr's update as a matrix, in float64.

    Raises:
        InputError: the factors do not fit each other.
    """
    values = {name: tensor.double() for name, tensor in tensors.items() if name.startswith("lokr_")}
    ranks = [values[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in values]
    try:
        w1 = values["lokr_w1"] if "lokr_w1" in values else values["lokr_w1_a"] @ values["lokr_w1_b"]
        if "lokr_t2" in values:
            factors = (values[name] for name in ("lokr_t2", "lokr_w2_a", "lokr_w2_b"))
            w2 = torch.einsum("rs...,rk,sn->kn...", *factors)
        else:
            w2 = values["lokr_w2"] if "lokr_w2" in values else values["lokr_w2_a"] @ values["lokr_w2_b"]
        alpha = float(tensors["alpha"]) if "alpha" in tensors and ranks else 1.0
        return torch.kron(w1, w2) * (alpha / ranks[-1] if "alpha" in tensors and ranks else 1.0)
    except (KeyError, RuntimeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"A LoKr has factors that do not fit each other: {error}.") from None


def can_fuse(members: Sequence[Tensors]) -> bool:
    """Tell whether adapters can be fused exactly: plain LoRA of Linear layers, or dense updates."""
    is_lora = all(set(tensors) == _LORA and tensors["lora_down.weight"].dim() == 2 for tensors in members)
    return is_lora or all(set(tensors) in ({"diff"}, {"diff", "diff_b"}) for tensors in members)


def fuse(members: Mapping[OriginalRows, Tensors]) -> dict[str, Tensor]:
    """Return the adapter of an original layer whose rows these members are; rows without a member do not change.

    Args:
        members: where each is, and its tensors, for which `can_fuse` is true.
    """
    tensors = dict(sorted(members.items(), key=lambda member: member[0].first))
    total = next(iter(tensors)).total
    if all("diff" in each for each in tensors.values()):
        names = ("diff", "diff_b") if any("diff_b" in each for each in tensors.values()) else ("diff",)
        return {
            name: _stack({rows: each[name] for rows, each in tensors.items() if name in each}, total) for name in names
        }
    downs = [each["lora_down.weight"] for each in tensors.values()]
    scales = [float(each["alpha"]) / down.shape[0] for each, down in zip(tensors.values(), downs, strict=True)]
    is_shared = all(down.shape == downs[0].shape and torch.equal(down, downs[0]) for down in downs)
    same_scale = len(set(scales)) == 1
    scale = scales[0] if same_scale else 1.0
    ups = {
        rows: each["lora_up.weight"] if same_scale else each["lora_up.weight"] * own
        for (rows, each), own in zip(tensors.items(), scales, strict=True)
    }
    if not is_shared:
        rank, first = sum(down.shape[0] for down in downs), 0
        for rows, up in list(ups.items()):
            ups[rows] = torch.nn.functional.pad(up, (first, rank - first - up.shape[1]))
            first += up.shape[1]
    down = downs[0] if is_shared else torch.cat(downs)
    alpha = torch.tensor(scale * down.shape[0], dtype=torch.float64)
    alpha = alpha.float() if alpha.float().double() == alpha else alpha
    return {"lora_up.weight": _stack(ups, total), "lora_down.weight": down, "alpha": alpha}


def _stack(parts: Mapping[OriginalRows, Tensor], total: int) -> Tensor:
    first = next(iter(parts.values()))
    stacked = first.new_zeros(total, *first.shape[1:])
    for rows, values in parts.items():
        stacked[rows.first : rows.first + rows.count] = values
    if any(rows.halves_swapped for rows in parts):
        stacked = torch.cat(stacked.chunk(2)[::-1])
    return stacked
