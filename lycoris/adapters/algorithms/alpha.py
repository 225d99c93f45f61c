"""Alpha, the numerator of an update's scale: its value in an algorithm and in a file."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lycoris.errors import InputError


def alpha_scale(alpha: float | None, rank: int, rank_stabilised: bool = False) -> float:
    """Return alpha / rank, or alpha / √rank (rank-stabilised LoRA: Kalajdzievski 2023, arXiv 2312.03732).

    Args:
        alpha: positive; None is rank / 2, the paper's LoRA 8/4 and LoHa 4/2 (arXiv 2309.14859).
        rank: at least 1.
        rank_stabilised: divide by √rank.

    Raises:
        InputError: `alpha` is not a positive finite number.
    """
    alpha = rank / 2 if alpha is None else alpha
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < math.inf:
        raise InputError(f"Argument `alpha` must be a positive finite number, but got {alpha!r}.")
    return float(alpha / math.sqrt(rank)) if rank_stabilised else float(alpha / rank)


def alpha_tensor(alpha: float) -> Tensor:
    """Return `alpha` as files store it: float32 where that is exact, else float64. Float16 would overflow at 65504."""
    single = torch.tensor(alpha, dtype=torch.float32)
    return single if single.item() == alpha else torch.tensor(alpha, dtype=torch.float64)
