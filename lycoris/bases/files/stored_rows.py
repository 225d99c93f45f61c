"""Where the rows of a module's parameters are in a single file, found by sending row numbers through its conversion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.errors import InputError


@dataclass(frozen=True)
class StoredRows:
    """Rows of a parameter and the rows of a stored tensor that they are.

    Attributes:
        parameter: its name in the module.
        rows: of the parameter, [n].
        stored: the rows of the stored tensor, [n].
        is_transposed: whether the stored tensor is transposed, so that its rows are the parameter's columns.
    """

    parameter: str
    rows: Tensor
    stored: Tensor
    is_transposed: bool = False

    def add(self, values: Tensor, delta: Tensor) -> None:
        """Add a change of the whole parameter to the stored tensor's values, in place.

        Args:
            values: of the stored tensor.
            delta: change of the parameter.
        """
        delta = (delta.t() if self.is_transposed else delta)[self.rows]
        values[self.stored] += delta.reshape(len(self.stored), *values.shape[1:])


def find_stored_rows(
    shapes: Mapping[str, tuple[int, ...]], convert: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]
) -> dict[str, list[StoredRows]]:
    """Find which rows of which stored tensors the parameters of a module are.

    Args:
        shapes: name of each stored tensor of the part → shape.
        convert: stored tensors by those names → the module's parameters by theirs.

    Returns:
        Name of a stored tensor → what it holds.
    """
    numbers, first = {}, [2]  # a conversion may add zeros and ones of its own
    names = list(shapes)
    for name in names:
        shape = shapes[name]
        rows = shape[0] if shape else 1
        column = torch.arange(first[-1], first[-1] + rows, dtype=torch.float64)
        numbers[name] = column.view(-1, *(1,) * (len(shape) - 1)).expand(shape) if shape else column.view(())
        first.append(first[-1] + rows)
    starts = torch.tensor(first[1:], dtype=torch.float64)
    found: dict[str, list[StoredRows]] = {}
    for parameter, values in convert(numbers).items():
        if not values.dim() or not values.numel():
            continue
        flat = values.reshape(values.shape[0], -1)
        is_transposed = flat.shape[0] > 1 and bool((flat[:, 0] == flat[0, 0]).all())
        ids = flat[0] if is_transposed else flat[:, 0]
        owners = torch.bucketize(ids.contiguous(), starts, right=True)
        owners[ids < first[0]] = len(names)
        for owner in owners.unique().tolist():
            if owner >= len(names):
                continue
            rows = (owners == owner).nonzero().flatten()
            stored = (ids[rows] - first[owner]).long()
            found.setdefault(names[owner], []).append(StoredRows(parameter, rows, stored, is_transposed))
    return found


def require_rows(found: Mapping[str, list[StoredRows]], changed: Mapping[str, int], source: object) -> None:
    """Check that every row of the changed parameters is in a stored tensor.

    Args:
        found: as `find_stored_rows` returns it.
        changed: name of a parameter → its number of rows.
        source: the base, for the message.

    Raises:
        InputError: rows of a parameter are in none.
    """
    counts = dict.fromkeys(changed, 0)
    for places in found.values():
        for place in places:
            if place.parameter in counts:
                counts[place.parameter] += len(place.rows)
    lost = [name for name, count in counts.items() if count < changed[name]]
    if lost:
        raise InputError(f"Base `{source}` has no place for {len(lost)} changed weights, such as `{lost[0]}`.")
