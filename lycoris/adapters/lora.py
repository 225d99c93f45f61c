"""LoRA: a product of two thin matrices (Hu et al. 2021, arXiv 2106.09685; convolutions and Tucker: LoCon)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lycoris.adapters.adapter import Adapter, Site, alpha_tensor, scale_of
from lycoris.structure import LowRank, Structure, Tucker


class LoRA(Adapter):
    """ΔW = alpha/rank · up · down, with up starting at 0.

    Args:
        site: the layer.
        rank: columns of `up`, in [1, min(out, in·kernel)]; 8 by default.
        alpha: numerator of the scale; rank / 2 by default.
        tucker: for kernels larger than 1, a [rank, rank, *kernel] core between two pointwise maps.
        rank_stabilised: divide alpha by √rank instead of rank.
    """

    algorithm = "lora"
    signature = frozenset({"lora_up.weight"})

    def __init__(
        self,
        site: Site,
        *,
        rank: int | None = None,
        alpha: float | None = None,
        tucker: bool = False,
        rank_stabilised: bool = False,
    ):
        super().__init__()
        out, channels, *kernel = site.shape
        tucker = tucker and any(size > 1 for size in kernel)
        self.rank = site.rank(rank, 8, min(out, channels if tucker else site.row))
        self.scale = scale_of(alpha, self.rank, rank_stabilised)
        self.up = site.zeros(out, self.rank)
        self.mid = site.kaiming(self.rank, self.rank, *kernel) if tucker else None
        self.down = site.kaiming(self.rank, channels, *([] if tucker else kernel))
        self._dims = len(kernel)

    def structure(self, weight: Tensor, scale: float = 1.0) -> Structure:
        if self.mid is None:
            return LowRank(self.up, self.down, self.scale * scale)
        return Tucker(self.up, self.mid, self.down, self.scale * scale)

    def tensors(self) -> dict[str, Tensor]:
        ones = (1,) * self._dims
        down = self.down if self.mid is None else self.down.view(*self.down.shape, *ones)
        middle = {} if self.mid is None else {"lora_mid.weight": self.mid}
        return {
            "lora_up.weight": self.up.view(*self.up.shape, *ones),
            "lora_down.weight": down,
            **middle,
            "alpha": alpha_tensor(self.scale * self.rank),
        }

    @classmethod
    def options_of(cls, site: Site, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> dict:
        rank = shapes["lora_up.weight"][1]
        return {"rank": rank, "alpha": constants.get("alpha", rank), "tucker": "lora_mid.weight" in shapes}
