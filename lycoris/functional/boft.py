"""BOFT as functions: see `lycoris.drop_in.functional`."""

from __future__ import annotations

from torch import Tensor

from lycoris.drop_in.functional import Factors, initial_factors
from lycoris.functional.diag_oft import bypass_forward_diff, diff_weight

__all__ = ["bypass_forward_diff", "diff_weight", "weight_gen"]


def weight_gen(org_weight: Tensor, max_block_size: int, rescale: bool = False) -> Factors:
    """Return new factors of a weight: oft_blocks and rescale."""
    return initial_factors("boft", org_weight, ("oft_blocks", "rescale"), factor=max_block_size, rescale=rescale)
