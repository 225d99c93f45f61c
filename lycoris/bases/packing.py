"""Latents as sequences of square patches, and the positions of the patches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lycoris.bases.shapes import Latents, Patches


def pack(latents: Latents, patch: int = 2) -> Float[Tensor, "batch tokens width"]:
    """Turn latents into a sequence of patches, row by row; a patch has its cells within each channel."""
    count, channels, rows, columns = latents.shape
    cells = latents.reshape(count, channels, rows // patch, patch, columns // patch, patch)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * patch**2)


def unpack(packed: Float[Tensor, "batch tokens width"], rows: int, columns: int, patch: int = 2) -> Latents:
    """Undo `pack` for latents of this many rows and columns."""
    count, _, width = packed.shape
    cells = packed.reshape(count, rows // patch, columns // patch, width // patch**2, patch, patch)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(count, width // patch**2, rows, columns)


def patchify(latents: Latents) -> Patches:
    """Turn the four cells of each patch of two by two into channels: half the rows, half the columns."""
    count, channels, rows, columns = latents.shape
    cells = latents.reshape(count, channels, rows // 2, 2, columns // 2, 2)
    return cells.permute(0, 1, 3, 5, 2, 4).reshape(count, 4 * channels, rows // 2, columns // 2)


def unpatchify(latents: Patches) -> Latents:
    """Undo `patchify`."""
    count, channels, rows, columns = latents.shape
    cells = latents.reshape(count, channels // 4, 2, 2, rows, columns)
    return cells.permute(0, 1, 4, 2, 5, 3).reshape(count, channels // 4, 2 * rows, 2 * columns)


def grid_positions(
    rows: int, columns: int, axes: int = 3, device: torch.device | None = None
) -> Float[Tensor, "tokens axes"]:
    """Positions of the patches, row by row: the row on the second axis and the column on the third, else 0."""
    positions = torch.zeros(rows, columns, axes, device=device)
    positions[..., 1] = torch.arange(rows, device=device)[:, None]
    positions[..., 2] = torch.arange(columns, device=device)[None, :]
    return positions.reshape(-1, axes)
