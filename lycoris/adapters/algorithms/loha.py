"""LoHa: the Hadamard product of two low ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Algorithm, Constants, Examples, PartialShape, Shapes
from lycoris.adapters.algorithms.alpha import alpha_scale, alpha_tensor
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.low_rank_approximation import truncated_svd, tucker_decomposition
from lycoris.adapters.structures import Hadamard, LowRank, full_precision

_ALS_SWEEPS = 20
"""Sweeps of alternating least squares in `fit_delta`."""


class LoHa(Algorithm):
    """ΔW = alpha/rank · (w1_a·w1_b) ∘ (w2_a·w2_b), of rank up to rank², with w2_a starting at 0.

    FedPara, Hyeon-Woo et al. 2021, arXiv 2108.06098.

    Args:
        target: the layer.
        rank: of each of the two products, in [1, min(out, in·kernel)]; 4 by default.
        alpha: numerator of the scale; rank / 2 by default.
        tucker: for kernels larger than 1, each product is a core [rank, rank, *kernel] between a [rank, out] and
            a [rank, in] matrix.
        rank_stabilised: divide alpha by √rank instead of rank.
    """

    algorithm = "loha"
    title = "LoHa"
    citation = "Hyeon-Woo et al. 2021, arXiv 2108.06098"
    formula = "s · (w1_a·w1_b) ∘ (w2_a·w2_b)"
    examples: ClassVar[Examples] = {
        "rank and alpha": {"rank": 3, "alpha": 2.0},
        "rank 1": {"rank": 1},
        "rank stabilised": {"rank": 3, "alpha": 2.0, "rank_stabilised": True},
        "scalar": {"rank": 3, "alpha": 2.0, "scalar": True},
        "tucker": {"rank": 2, "alpha": 3.0, "tucker": True},
    }
    default_rank = 4
    random_start = True
    zero_factors = ("hada_w2_a",)
    signature_keys = frozenset({"hada_w1_a"})
    peft_type = "LOHA"

    def __init__(
        self,
        target: TargetLayer,
        *,
        rank: int | None = None,
        alpha: float | None = None,
        tucker: bool = False,
        rank_stabilised: bool = False,
    ):
        super().__init__()
        out, channels, *kernel = target.shape
        tucker = tucker and any(size > 1 for size in kernel)
        limit = min(out, channels if tucker else target.row_size)
        self.rank = r = target.resolve_rank(rank, self.default_rank, limit)
        self.scale = alpha_scale(alpha, r, rank_stabilised)
        self.shape = target.shape
        left, right = ((r, out), (r, channels)) if tucker else ((out, r), (r, target.row_size))
        self.w1_a = target.normal(*left, std=0.1)
        self.w1_b = target.normal(*right)
        self.w2_a = target.zero_factor(*left)
        self.w2_b = target.normal(*right)
        self.t1 = target.normal(r, r, *kernel, std=0.1) if tucker else None
        self.t2 = target.normal(r, r, *kernel, std=0.1) if tucker else None

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Hadamard:
        left, right = self._factor(self.w1_a, self.w1_b, self.t1), self._factor(self.w2_a, self.w2_b, self.t2)
        return Hadamard(left, right, self.scale * scale)

    def _factor(self, a: Tensor, b: Tensor, core: Tensor | None) -> LowRank:
        if core is None:
            return LowRank(a, b.view(b.shape[0], *self.shape[1:]))
        return LowRank(a.t(), _contract_core(core, b))

    def state_tensors(self) -> dict[str, Tensor]:
        cores = {} if self.t1 is None else {"hada_t1": self.t1, "hada_t2": self.t2}
        factors = {f"hada_{name}": getattr(self, name) for name in ("w1_a", "w1_b", "w2_a", "w2_b")}
        return {**factors, **cores, "alpha": alpha_tensor(self.scale * self.rank)}

    @torch.no_grad()
    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        target = delta.double() / self.scale
        if self.t1 is None:
            self._fit_factors(target.flatten(1))
        else:
            self._fit_tucker(target)

    def _fit_factors(self, target: Tensor) -> None:
        """Fit by alternating least squares, from ones ∘ the nearest low rank."""
        product = truncated_svd(target, self.rank)
        a1, a2 = torch.zeros_like(self.w1_a, dtype=torch.float64), torch.zeros_like(self.w2_a, dtype=torch.float64)
        b1, b2 = self.w1_b.detach().to(torch.float64, copy=True), self.w2_b.detach().to(torch.float64, copy=True)
        a1[:, 0], b1[0] = 1, 1
        a2[:, : product.up.shape[1]], b2[: product.up.shape[1]] = product.up, product.down
        for _ in range(_ALS_SWEEPS):
            a1 = _solve_left_factor(target, b1, a2 @ b2)
            a2 = _solve_left_factor(target, b2, a1 @ b1)
            b1 = _solve_left_factor(target.t(), a1.t(), (a2 @ b2).t()).t()
            b2 = _solve_left_factor(target.t(), a2.t(), (a1 @ b1).t()).t()
        parameters = (self.w1_a, self.w1_b, self.w2_a, self.w2_b)
        for parameter, values in zip(parameters, (a1, b1, a2, b2), strict=True):
            parameter.copy_(values)

    def _fit_tucker(self, target: Tensor) -> None:
        """Fit the six factors in turn by least squares, from ones ∘ the nearest Tucker form."""
        assert self.t1 is not None
        assert self.t2 is not None
        halves = [[p.to(torch.float64, copy=True) for p in (self.w1_a, self.t1, self.w1_b)]]
        up, core, down = tucker_decomposition(target, self.rank)
        halves.append([up.t(), core, down])
        a, t, b = halves[0]
        a.zero_()
        a[0], b[0], t[0] = 1, 1, 0
        t[0, 0] = 1
        products = [torch.einsum("rs...,ro,si->oi...", t, a, b) for a, t, b in halves]
        for _ in range(_ALS_SWEEPS):
            for step in range(3):
                for i, half in enumerate(halves):
                    half[step] = _solve_tucker_factor(target, half, products[1 - i], step)
                    a, t, b = half
                    products[i] = torch.einsum("rs...,ro,si->oi...", t, a, b)
        parameters = (self.w1_a, self.t1, self.w1_b, self.w2_a, self.t2, self.w2_b)
        for parameter, values in zip(parameters, (*halves[0], *halves[1]), strict=True):
            parameter.copy_(values)

    @classmethod
    def infer_shape(cls, shapes: Shapes, constants: Constants) -> PartialShape:
        if "hada_t1" in shapes:
            return shapes["hada_w1_a"][1], shapes["hada_w1_b"][1], *shapes["hada_t1"][2:]
        return shapes["hada_w1_a"][0], shapes["hada_w1_b"][1], None

    @classmethod
    def infer_options(cls, target: TargetLayer, shapes: Shapes, constants: Constants) -> dict:
        rank = shapes["hada_w1_b"][0]
        return {"rank": rank, "alpha": constants.get("alpha", rank), "tucker": "hada_t1" in shapes}

    @staticmethod
    def reference_delta(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        rank = tensors["hada_w1_b"].shape[0]
        if "hada_t1" not in tensors:
            products = [(tensors[f"hada_w{i}_a"] @ tensors[f"hada_w{i}_b"]).view(weight.shape) for i in (1, 2)]
        else:
            products = [torch.zeros_like(weight), torch.zeros_like(weight)]
            for i, product in enumerate(products, start=1):
                core, a, b = tensors[f"hada_t{i}"], tensors[f"hada_w{i}_a"], tensors[f"hada_w{i}_b"]
                for o in range(weight.shape[0]):
                    for c in range(weight.shape[1]):
                        for r in range(rank):
                            for s in range(rank):
                                product[o, c] += a[r, o] * core[r, s] * b[s, c]
        return tensors["alpha"] / rank * products[0] * products[1]


@full_precision
def _contract_core(core: Tensor, b: Tensor) -> Tensor:
    """Contract [r, s, *kernel] and [s, in] to [r, in, *kernel]."""
    return torch.einsum("rs...,si->ri...", core, b)


def _solve_left_factor(target: Tensor, right: Tensor, other: Tensor) -> Tensor:
    """Find the left factor with (left · right) ∘ other nearest to the target; each row is a least-squares problem.

    Args:
        target, other: [out, row].
        right: [rank, row].
    """
    rank = right.shape[0]
    squares = (right.unsqueeze(1) * right.unsqueeze(0)).flatten(0, 1)
    normal = (other.square() @ squares.t()).view(-1, rank, rank)
    return _solve_normal_equations(normal, (other * target) @ right.t())


def _solve_normal_equations(normal: Tensor, sides: Tensor) -> Tensor:
    """Solve normal equations [rows, n, n] with right-hand sides [rows, n], regularised where a row is singular."""
    ridge = 1e-12 * normal.diagonal(dim1=1, dim2=2).amax().clamp_min(1e-30)
    return torch.linalg.solve(normal + ridge * torch.eye(normal.shape[-1]).to(normal), sides)


def _solve_tucker_factor(target: Tensor, half: list[Tensor], other: Tensor, step: int) -> Tensor:
    """Find one of a, core and b with (core contracted with a and b) ∘ other nearest to the target.

    Args:
        target, other: [out, in, *kernel].
        half: a [r, out], core [r, s, *kernel] and b [s, in].
        step: index of the factor in `half`.
    """
    a, core, b = half
    if step == 0:
        return _solve_left_factor(target.flatten(1), _contract_core(core, b).flatten(1), other.flatten(1)).t()
    if step == 2:
        left = torch.einsum("rs...,ro->so...", core, a).flatten(1)
        return _solve_left_factor(target.transpose(0, 1).flatten(1), left, other.transpose(0, 1).flatten(1)).t()
    rank, kernel = a.shape[0], core.shape[2:]
    weights, weighted_target = (
        values.flatten(2).permute(2, 0, 1) for values in (other.square(), other * target)
    )  # [kernel, out, in]
    pairs_a = torch.einsum("ro,qo->rqo", a, a).flatten(0, 1)
    pairs_b = torch.einsum("si,ti->sti", b, b).flatten(0, 1)
    normal = (pairs_a @ weights @ pairs_b.t()).view(-1, rank, rank, rank, rank).transpose(2, 3)
    normal = normal.flatten(3).flatten(1, 2)
    sides = (a @ weighted_target @ b.t()).flatten(1)
    return _solve_normal_equations(normal, sides).t().reshape(rank, rank, *kernel)
