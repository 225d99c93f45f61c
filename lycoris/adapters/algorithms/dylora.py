"""DyLoRA: LoRA whose every prefix of ranks is trained to stand alone (Valipour et al. 2022, arXiv 2210.07558)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, Partial, Site, alpha_tensor, scale_of
from lycoris.adapters.low_rank_approximation import take_product
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
    signature = frozenset({"lora_up.weight"})
    remembered = ("block",)
    zero_start = ("lora_up.weight",)
    loraplus = ("up",)
    draws = True

    def __init__(self, site: Site, *, rank: int | None = None, alpha: float | None = None, block: int = 1):
        super().__init__()
        out, channels, *kernel = site.shape
        self.rank = site.rank(rank, 8, min(out, site.row))
        if isinstance(block, bool) or not isinstance(block, int) or block < 1 or self.rank % block:
            raise InputError(f"Argument `block` must divide the rank {self.rank}, but got {block!r} for `{site.name}`.")
        self.block = block
        self.scale = scale_of(alpha, self.rank, False)
        self.up = site.zero_start(out, self.rank)
        self.down = site.kaiming(self.rank, channels, *kernel)
        self._ones = (1,) * len(kernel)

    def structure(self, weight: Tensor, scale: float = 1.0) -> LowRank:
        scale = self.scale * scale
        if not self.training:
            return LowRank(self.up, self.down, scale)
        kept = self.block * (1 + int(torch.randint(self.rank // self.block, ()).item()))
        return LowRank(self.up[:, :kept], self.down[:kept], scale * self.rank / kept)

    def tensors(self) -> dict[str, Tensor]:
        up = self.up.view(*self.up.shape, *self._ones)
        return {"lora_up.weight": up, "lora_down.weight": self.down, "alpha": alpha_tensor(self.scale * self.rank)}

    def fit(self, change: Tensor, shift: Tensor | None = None) -> None:
        take_product(self.up, self.down, change / self.scale)

    @classmethod
    def shape_of(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> Partial:
        return shapes["lora_up.weight"][0], *shapes["lora_down.weight"][1:]

    @classmethod
    def options_of(cls, site: Site, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> dict:
        rank = shapes["lora_up.weight"][1]
        return {"rank": rank, "alpha": constants.get("alpha", rank)}
