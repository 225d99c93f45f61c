"""Diag-OFT as functions: see `lycoris.drop_in.functional`."""

from __future__ import annotations

from torch import Tensor

from lycoris.drop_in.functional import Factors, initial_factors, rotate_output, rotation, split_output


def weight_gen(org_weight: Tensor, max_block_size: int = -1, rescale: bool = False) -> Factors:
    """Return new factors of a weight: oft_blocks and rescale."""
    return initial_factors("diag-oft", org_weight, ("oft_blocks", "rescale"), factor=max_block_size, rescale=rescale)


def diff_weight(org_weight: Tensor, *weights: Tensor | None, constraint: float | None = None) -> Tensor:
    """Return ΔW of a weight, oft_blocks and rescale."""
    return rotation(org_weight, split_output(weights, 2), constraint).dense()


def bypass_forward_diff(
    *outputs_and_weights: Tensor | None, constraint: float | None = None, need_transpose: bool = False
) -> Tensor:
    """Return what the layer's output changes by.

    Args:
        outputs_and_weights: the layer's input, which may be left out, its output, oft_blocks and rescale.
        constraint: largest norm of the skew blocks.
        need_transpose: whether the channels are the second dimension, as in convolutions.
    """
    output, *weights = split_output(outputs_and_weights, 3)
    assert output is not None
    return rotate_output(output, tuple(weights), constraint, channels_second=need_transpose)
