"""LoKr as functions: see `lycoris.drop_in.functional`."""

from __future__ import annotations

from torch import Tensor

from lycoris.drop_in.functional import Factors, LayerArguments, apply, initial_factors, kronecker, split_output


def weight_gen(
    org_weight: Tensor,
    rank: int,
    tucker: bool = True,
    factor: int = -1,
    decompose_both: bool = False,
    full_matrix: bool = False,
    unbalanced_factorization: bool = False,
) -> Factors:
    """Return new factors of a weight: w1, w1a, w1b, w2, w2a, w2b and t2."""
    names = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")
    factors = initial_factors(
        "lokr",
        org_weight,
        names,
        rank=None if full_matrix else rank,
        tucker=tucker,
        factor=factor,
        decompose_both=decompose_both,
        unbalanced=unbalanced_factorization,
    )
    *others, w2b, core = factors
    if w2b is not None and core is None and org_weight.dim() > 2:  # a convolution's, in its shape
        w2b = w2b.view(w2b.shape[0], -1, *org_weight.shape[2:])
    return (*others, w2b, core)


def diff_weight(*weights: Tensor | None, gamma: float = 1.0) -> Tensor:
    """Return ΔW of w1, w1a, w1b, w2, w2a, w2b and t2, times `gamma` / rank where there is a rank."""
    return kronecker(weights, gamma).dense()


def bypass_forward_diff(
    h: Tensor, *weights: Tensor | None, gamma: float = 1.0, extra_args: LayerArguments | None = None
) -> Tensor:
    """Return the output of ΔW; `extra_args` are the arguments of a convolution."""
    return apply(kronecker(split_output(weights, 7), gamma), h, extra_args or {})
