"""LoRA, also of convolutions, as functions: see `lycoris.drop_in.functional`."""

from __future__ import annotations

from torch import Tensor

from lycoris.drop_in.functional import Factors, LayerArguments, apply, initial_factors, low_rank, split_output


def weight_gen(org_weight: Tensor, rank: int, tucker: bool = True) -> Factors:
    """Return new factors of a weight: down, up and mid."""
    names = ("lora_down.weight", "lora_up.weight", "lora_mid.weight")
    return initial_factors("lora", org_weight, names, rank=rank, tucker=tucker)


def diff_weight(*weights: Tensor | None, gamma: float = 1.0) -> Tensor:
    """Return ΔW of down, up and mid, times `gamma`."""
    return low_rank(weights, gamma).dense()


def bypass_forward_diff(
    x: Tensor, *weights: Tensor | None, gamma: float = 1.0, extra_args: LayerArguments | None = None
) -> Tensor:
    """Return the output of ΔW; `extra_args` are the arguments of a convolution."""
    return apply(low_rank(split_output(weights, 3), gamma), x, extra_args or {})
