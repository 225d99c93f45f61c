"""LoHa as functions: see `lycoris.drop_in.functional`."""

from __future__ import annotations

from torch import Tensor

from lycoris.drop_in.functional import Factors, LayerArguments, apply, hadamard, initial_factors, split_output


def weight_gen(org_weight: Tensor, rank: int, tucker: bool = True) -> Factors:
    """Return new factors of a weight: w1d, w1u, w2d, w2u, t1 and t2."""
    names = ("hada_w1_b", "hada_w1_a", "hada_w2_b", "hada_w2_a", "hada_t1", "hada_t2")
    w1d, w1u, w2d, w2u, *cores = initial_factors("loha", org_weight, names, rank=rank, tucker=tucker)
    if cores[0] is None:
        w1d, w2d = (None if each is None else each.view(-1, *org_weight.shape[1:]) for each in (w1d, w2d))
    return (w1d, w1u, w2d, w2u, *cores)


def diff_weight(*weights: Tensor | None, gamma: float = 1.0) -> Tensor:
    """Return ΔW of w1d, w1u, w2d, w2u, t1 and t2, times `gamma`."""
    return hadamard(weights, gamma).dense()


def bypass_forward_diff(
    x: Tensor, *weights: Tensor | None, gamma: float = 1.0, extra_args: LayerArguments | None = None
) -> Tensor:
    """Return the output of ΔW; `extra_args` are the arguments of a convolution."""
    return apply(hadamard(split_output(weights, 6), gamma), x, extra_args or {})
