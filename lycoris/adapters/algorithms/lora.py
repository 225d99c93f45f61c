"""LoRA: a product of two thin matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Algorithm, Constants, Examples, PartialShape, Shapes
from lycoris.adapters.algorithms.alpha import alpha_scale, alpha_tensor
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.initialization import STARTS, orthogonal_factors, pissa_factors, product_delta
from lycoris.adapters.low_rank_approximation import assign_low_rank, tucker_decomposition
from lycoris.adapters.structures import LowRank, Structure, Tucker
from lycoris.errors import InputError, unknown_name_error


class LoRA(Algorithm):
    """ΔW = alpha/rank · up · down, with `up` starting at 0 (Hu et al. 2021, arXiv 2106.09685).

    Convolutions and the Tucker form follow LoCon. With another start, ΔW is the product minus its initial value: the
    base stays as it is, and files are LoRA files of twice the rank.

    Args:
        target: the layer.
        rank: columns of `up`, in [1, min(out, in·kernel)]; 8 by default.
        alpha: numerator of the scale; rank / 2 by default.
        tucker: for kernels larger than 1, put a [rank, rank, *kernel] core between two pointwise maps.
        rank_stabilised: divide alpha by √rank instead of rank.
        start: initial factors: ``"zero"``, ``"orthogonal"``, or with ``"svd"`` the weight's largest singular
            components (PiSSA, Meng et al. 2024, arXiv 2404.02948).
    """

    algorithm = "lora"
    title = "LoRA"
    citation = "Hu et al. 2021, arXiv 2106.09685"
    formula = "s · up·down; Tucker: s · up·mid·down; with a start, minus its initial value"
    aliases = ("locon",)
    examples: ClassVar[Examples] = {
        "rank and alpha": {"rank": 3, "alpha": 2.0},
        "tucker": {"rank": 2, "alpha": 3.0, "tucker": True},
        "dora": {"rank": 3, "alpha": 2.0, "dora": "output"},
        "dora by input": {"rank": 3, "alpha": 2.0, "dora": "input"},
        "rank stabilised": {"rank": 3, "alpha": 2.0, "rank_stabilised": True},
        "scalar": {"rank": 3, "alpha": 2.0, "scalar": True},
        "scalar and dora": {"rank": 3, "scalar": True, "dora": "output"},
        "orthogonal start": {"rank": 3, "alpha": 2.0, "start": "orthogonal"},
        "svd start": {"rank": 3, "alpha": 2.0, "start": "svd"},
        "svd start and dora": {"rank": 2, "start": "svd", "dora": "output"},
    }
    default_rank = 8
    has_exact_rank = True
    random_start = True
    zero_factors = ("lora_up.weight",)
    loraplus_parameters = ("up",)
    signature_keys = frozenset({"lora_up.weight"})
    header_options = ("start",)
    kohya_name = "locon"
    peft_type = "LORA"
    start_up: Tensor
    start_down: Tensor
    start_error: float = 0.0
    """Error of an SVD start; see `pissa_factors`."""

    def __init__(
        self,
        target: TargetLayer,
        *,
        rank: int | None = None,
        alpha: float | None = None,
        tucker: bool = False,
        rank_stabilised: bool = False,
        start: Literal["zero", "orthogonal", "svd"] = "zero",
    ):
        super().__init__()
        out, channels, *kernel = target.shape
        with_core = tucker and any(size > 1 for size in kernel)
        limit = min(out, channels if with_core else target.row_size)
        self.rank = target.resolve_rank(rank, self.default_rank, limit)
        self.scale = alpha_scale(alpha, self.rank, rank_stabilised)
        self.start = start
        self._dims = len(kernel)
        if start not in STARTS:
            raise unknown_name_error("start", start, STARTS)
        if start != "zero" and (with_core or target.scalar):
            raise InputError(f"Argument `start` must be `zero` with `tucker` or `scalar`, but got `{start}`.")
        self.mid = target.kaiming(self.rank, self.rank, *kernel) if with_core else None
        if start == "zero":
            self.up = target.zero_factor(out, self.rank)
            self.down = target.kaiming(self.rank, channels, *([] if with_core else kernel))
            return
        if start == "orthogonal":
            up, down = orthogonal_factors(target, self.rank)
        else:
            up, down, self.start_error = pissa_factors(target, self.rank, self.scale)
        self.up = target.from_values(up)
        self.down = target.from_values(down.reshape(self.rank, channels, *kernel))
        self.register_buffer("start_up", self.up.detach().clone())
        self.register_buffer("start_down", self.down.detach().clone())

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Structure:
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
            delta = product_delta(up, down, self.start_up, self.start_down, 1.0)
            up, down, rank = delta.up, delta.down, 2 * rank
        core = {} if self.mid is None else {"lora_mid.weight": self.mid}
        return {
            "lora_up.weight": up.view(*up.shape, *ones),
            "lora_down.weight": down if self.mid is None else down.view(*down.shape, *ones),
            **core,
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

    @torch.no_grad()
    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        if self.start != "zero":
            raise InputError(f"Argument `start` must be `zero` to extract, but got `{self.start}`.")
        if self.mid is None:
            assign_low_rank(self.up, self.down, delta / self.scale)
            return
        factors = tucker_decomposition(delta / self.scale, self.rank)
        for parameter, values in zip((self.up, self.mid, self.down), factors, strict=True):
            parameter.copy_(values)

    @classmethod
    def infer_shape(cls, shapes: Shapes, constants: Constants) -> PartialShape:
        down = shapes["lora_down.weight"]
        return shapes["lora_up.weight"][0], *down[1:2], *shapes.get("lora_mid.weight", down)[2:]

    @classmethod
    def infer_options(cls, target: TargetLayer, shapes: Shapes, constants: Constants) -> dict:
        rank = shapes["lora_up.weight"][1]
        alpha = constants.get("alpha", rank)
        if target.header_values.get("start", "zero") != "zero":
            rank, alpha = rank // 2, alpha / 2
        return {"rank": rank, "alpha": alpha, "tucker": "lora_mid.weight" in shapes}

    @staticmethod
    def reference_delta(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        up, down = tensors["lora_up.weight"].flatten(1), tensors["lora_down.weight"]
        core = tensors.get("lora_mid.weight")
        rank = up.shape[1]
        delta = torch.zeros_like(weight)
        for r in range(rank):
            row = down[r]
            if core is not None:
                ones = (1,) * (weight.dim() - 2)
                row = torch.stack([core[r, s].unsqueeze(0) * down[s].reshape(-1, *ones) for s in range(rank)]).sum(0)
            for o in range(weight.shape[0]):
                delta[o] += up[o, r] * row
        return tensors["alpha"] / rank * delta
