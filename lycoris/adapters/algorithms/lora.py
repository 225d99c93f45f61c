"""LoRA: a product of two thin matrices (Hu et al. 2021, arXiv 2106.09685; convolutions and Tucker: LoCon)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer, alpha_scale, alpha_tensor
from lycoris.adapters.initialization import STARTS, orthogonal_factors, pissa_factors, product_delta
from lycoris.adapters.low_rank_approximation import assign_low_rank, tucker_decomposition
from lycoris.adapters.structures.structures import LowRank, Structure, Tucker
from lycoris.errors import InputError, unknown_name_error


class LoRA(Adapter):
    """ΔW = alpha/rank · up · down, with up starting at 0; with another start, less what the product was then.

    With another start the base stays as it is, and files are LoRA's of twice the rank.

    Args:
        site: the layer.
        rank: columns of `up`, in [1, min(out, in·kernel)]; 8 by default.
        alpha: numerator of the scale; rank / 2 by default.
        tucker: for kernels larger than 1, a [rank, rank, *kernel] core between two pointwise maps.
        rank_stabilised: divide alpha by √rank instead of rank.
        start: of the factors; `orthogonal` ones, or by `svd` the weight's largest singular parts (PiSSA).
    """

    algorithm = "lora"
    signature_keys = frozenset({"lora_up.weight"})
    header_options = ("start",)
    zero_factors = ("lora_up.weight",)
    loraplus_parameters = ("up",)
    start_up: Tensor
    start_down: Tensor

    def __init__(
        self,
        site: TargetLayer,
        *,
        rank: int | None = None,
        alpha: float | None = None,
        tucker: bool = False,
        rank_stabilised: bool = False,
        start: Literal["zero", "orthogonal", "svd"] = "zero",
    ):
        super().__init__()
        out, channels, *kernel = site.shape
        cored = tucker and any(size > 1 for size in kernel)
        self.rank = site.resolve_rank(rank, 8, min(out, channels if cored else site.row_size))
        self.scale = alpha_scale(alpha, self.rank, rank_stabilised)
        self.start = start
        self._dims = len(kernel)
        if start not in STARTS:
            raise unknown_name_error("start", start, STARTS)
        if start != "zero" and (cored or site.scalar):
            raise InputError(f"Argument `start` must be `zero` with `tucker` or `scalar`, but got `{start}`.")
        self.mid = site.kaiming(self.rank, self.rank, *kernel) if cored else None
        if start == "zero":
            self.up = site.zero_factor(out, self.rank)
            self.down = site.kaiming(self.rank, channels, *([] if cored else kernel))
            return
        begun = (
            orthogonal_factors(site, self.rank) if start == "orthogonal" else pissa_factors(site, self.rank, self.scale)
        )
        self.up, self.down = (
            site.from_values(begun[0]),
            site.from_values(begun[1].reshape(self.rank, channels, *kernel)),
        )
        self.register_buffer("start_up", self.up.detach().clone())
        self.register_buffer("start_down", self.down.detach().clone())

    def structure(self, weight: Tensor, scale: float = 1.0) -> Structure:
        scale = self.scale * scale
        if self.mid is not None:
            return Tucker(self.up, self.mid, self.down, scale)
        if self.start == "zero":
            return LowRank(self.up, self.down, scale)
        return product_delta(self.up, self.down, self.start_up, self.start_down, scale)

    def state_tensors(self) -> dict[str, Tensor]:
        ones = (1,) * self._dims
        up: Tensor = self.up
        down: Tensor = self.down
        rank = self.rank
        if self.start != "zero":
            change = product_delta(up, down, self.start_up, self.start_down, 1.0)
            up, down, rank = change.up, change.down, 2 * rank
        middle = {} if self.mid is None else {"lora_mid.weight": self.mid}
        return {
            "lora_up.weight": up.view(*up.shape, *ones),
            "lora_down.weight": down if self.mid is None else down.view(*down.shape, *ones),
            **middle,
            "alpha": alpha_tensor(self.scale * rank),
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        if self.start == "zero":
            return super().load_tensors(tensors)
        up, down = tensors["lora_up.weight"].to(self.up).flatten(1), tensors["lora_down.weight"].to(self.down)
        r = self.rank
        with torch.no_grad():
            self.start_up.copy_(up[:, r:])
            self.up.copy_(up[:, :r] + up[:, r:])
            self.down.copy_(down[:r])
            self.start_down.copy_(down[:r] - down[r:])

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        if self.start != "zero":
            raise InputError(f"Argument `start` must be `zero` to extract, but got `{self.start}`.")
        with torch.no_grad():
            if self.mid is None:
                assign_low_rank(self.up, self.down, delta / self.scale)
                return
            for ours, values in zip(
                (self.up, self.mid, self.down), tucker_decomposition(delta / self.scale, self.rank), strict=True
            ):
                ours.copy_(values)

    @classmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        down = shapes["lora_down.weight"]
        return shapes["lora_up.weight"][0], *down[1:2], *shapes.get("lora_mid.weight", down)[2:]

    @classmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        rank = shapes["lora_up.weight"][1]
        alpha = constants.get("alpha", rank)
        if site.header_values.get("start", "zero") != "zero":
            rank, alpha = rank // 2, alpha / 2
        return {"rank": rank, "alpha": alpha, "tucker": "lora_mid.weight" in shapes}
