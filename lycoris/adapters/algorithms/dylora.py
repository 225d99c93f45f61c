"""DyLoRA: LoRA whose every prefix of ranks is trained to stand alone (Valipour et al. 2022, arXiv 2210.07558)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer, alpha_scale, alpha_tensor
from lycoris.adapters.low_rank_approximation import assign_low_rank
from lycoris.adapters.structures.structures import LowRank
from lycoris.errors import InputError


class DyLoRA(Adapter):
    """ΔW = alpha/b · up[:, :b] · down[:b]; b is the rank, and while training a random multiple of `block`.

    Files are LoRA's.

    Args:
        site: the layer.
        rank: in [1, min(out, in·kernel)], a multiple of `block`; 8 by default.
        alpha: numerator of the scale; rank / 2 by default.
        block: ranks that come and go together.
    """

    algorithm = "dylora"
    signature_keys = frozenset({"lora_up.weight"})
    header_options = ("block",)
    zero_factors = ("lora_up.weight",)
    loraplus_parameters = ("up",)
    uses_rng = True

    def __init__(self, site: TargetLayer, *, rank: int | None = None, alpha: float | None = None, block: int = 1):
        super().__init__()
        out, channels, *kernel = site.shape
        self.rank = site.resolve_rank(rank, 8, min(out, site.row_size))
        if isinstance(block, bool) or not isinstance(block, int) or block < 1 or self.rank % block:
            raise InputError(f"Argument `block` must divide the rank {self.rank}, but got {block!r} for `{site.name}`.")
        self.block = block
        self.scale = alpha_scale(alpha, self.rank, False)
        self.up = site.zero_factor(out, self.rank)
        self.down = site.kaiming(self.rank, channels, *kernel)
        self._ones = (1,) * len(kernel)

    def structure(self, weight: Tensor, scale: float = 1.0) -> LowRank:
        scale = self.scale * scale
        if not self.training:
            return LowRank(self.up, self.down, scale)
        kept = self.block * (1 + int(torch.randint(self.rank // self.block, ()).item()))
        return LowRank(self.up[:, :kept], self.down[:kept], scale * self.rank / kept)

    def state_tensors(self) -> dict[str, Tensor]:
        up = self.up.view(*self.up.shape, *self._ones)
        return {"lora_up.weight": up, "lora_down.weight": self.down, "alpha": alpha_tensor(self.scale * self.rank)}

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        assign_low_rank(self.up, self.down, delta / self.scale)

    @classmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        return shapes["lora_up.weight"][0], *shapes["lora_down.weight"][1:]

    @classmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        rank = shapes["lora_up.weight"][1]
        return {"rank": rank, "alpha": constants.get("alpha", rank)}
