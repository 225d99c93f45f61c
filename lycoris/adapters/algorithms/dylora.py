"""DyLoRA: LoRA of which every prefix of ranks works alone."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Algorithm, Constants, Examples, Shapes
from lycoris.adapters.algorithms.alpha import alpha_scale, alpha_tensor
from lycoris.adapters.algorithms.lora import LoRA
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.low_rank_approximation import assign_low_rank
from lycoris.adapters.structures import LowRank
from lycoris.errors import InputError


class DyLoRA(Algorithm):
    """ΔW = alpha/b · up[:, :b] · down[:b]; b is a random multiple of `block` in training, else the rank.

    Valipour et al. 2022, arXiv 2210.07558. Files are LoRA files.

    Args:
        target: the layer.
        rank: in [1, min(out, in·kernel)], a multiple of `block`; 8 by default.
        alpha: numerator of the scale; rank / 2 by default.
        block: number of ranks that are dropped together.
    """

    algorithm = "dylora"
    title = "DyLoRA"
    citation = "Valipour et al. 2022, arXiv 2210.07558"
    formula = "LoRA of which a random prefix of ranks is trained"
    examples: ClassVar[Examples] = {
        "blocks": {"rank": 4, "alpha": 3.0, "block": 2},
        "scalar": {"rank": 3, "alpha": 2.0, "scalar": True},
    }
    default_rank = 8
    has_exact_rank = True
    random_start = True
    uses_rng = True
    zero_factors = ("lora_up.weight",)
    loraplus_parameters = ("up",)
    signature_keys = frozenset({"lora_up.weight"})
    header_options = ("block",)
    peft_type = "LORA"

    def __init__(self, target: TargetLayer, *, rank: int | None = None, alpha: float | None = None, block: int = 1):
        super().__init__()
        out, channels, *kernel = target.shape
        self.rank = target.resolve_rank(rank, self.default_rank, min(out, target.row_size))
        if isinstance(block, bool) or not isinstance(block, int) or block < 1 or self.rank % block:
            raise InputError(
                f"Argument `block` must divide the rank {self.rank}, but got {block!r} for `{target.name}`."
            )
        self.block = block
        self.scale = alpha_scale(alpha, self.rank)
        self.up = target.zero_factor(out, self.rank)
        self.down = target.kaiming(self.rank, channels, *kernel)
        self._ones = (1,) * len(kernel)

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> LowRank:
        scale = self.scale * scale
        if not self.training:
            return LowRank(self.up, self.down, scale)
        active = self.block * (1 + int(torch.randint(self.rank // self.block, ()).item()))
        return LowRank(self.up[:, :active], self.down[:active], scale * self.rank / active)

    def state_tensors(self) -> dict[str, Tensor]:
        up = self.up.view(*self.up.shape, *self._ones)
        return {"lora_up.weight": up, "lora_down.weight": self.down, "alpha": alpha_tensor(self.scale * self.rank)}

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        assign_low_rank(self.up, self.down, delta / self.scale)

    @classmethod
    def infer_options(cls, target: TargetLayer, shapes: Shapes, constants: Constants) -> dict:
        rank = shapes["lora_up.weight"][1]
        return {"rank": rank, "alpha": constants.get("alpha", rank)}

    infer_shape = LoRA.infer_shape
    reference_delta = staticmethod(LoRA.reference_delta)
