"""LoHa: the Hadamard product of two low ranks (FedPara, Hyeon-Woo et al. 2021, arXiv 2108.06098)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer, alpha_scale, alpha_tensor
from lycoris.adapters.low_rank_approximation import truncated_svd, tucker_decomposition
from lycoris.adapters.structures.structures import Hadamard, LowRank, full_precision

_ALS_SWEEPS = 20
"""Of alternating least squares in `fit`."""


class LoHa(Adapter):
    """ΔW = alpha/rank · (w1_a·w1_b) ∘ (w2_a·w2_b), of rank up to rank², with w2_a starting at 0.

    Args:
        site: the layer.
        rank: of each of the two products, in [1, min(out, in·kernel)]; 4 by default.
        alpha: numerator of the scale; rank / 2 by default.
        tucker: for kernels larger than 1, each product is a core [rank, rank, *kernel] between a [rank, out] and
            a [rank, in] matrix.
        rank_stabilised: divide alpha by √rank instead of rank.
    """

    algorithm = "loha"
    signature_keys = frozenset({"hada_w1_a"})
    zero_factors = ("hada_w2_a",)

    def __init__(
        self,
        site: TargetLayer,
        *,
        rank: int | None = None,
        alpha: float | None = None,
        tucker: bool = False,
        rank_stabilised: bool = False,
    ):
        super().__init__()
        out, channels, *kernel = site.shape
        tucker = tucker and any(size > 1 for size in kernel)
        self.rank = r = site.resolve_rank(rank, 4, min(out, channels if tucker else site.row_size))
        self.scale = alpha_scale(alpha, r, rank_stabilised)
        self.shape = site.shape
        left, right = ((r, out), (r, channels)) if tucker else ((out, r), (r, site.row_size))
        self.w1_a = site.normal(*left, std=0.1)
        self.w1_b = site.normal(*right)
        self.w2_a = site.zero_factor(*left)
        self.w2_b = site.normal(*right)
        self.t1 = site.normal(r, r, *kernel, std=0.1) if tucker else None
        self.t2 = site.normal(r, r, *kernel, std=0.1) if tucker else None

    def structure(self, weight: Tensor, scale: float = 1.0) -> Hadamard:
        return Hadamard(
            self._factor(self.w1_a, self.w1_b, self.t1), self._factor(self.w2_a, self.w2_b, self.t2), self.scale * scale
        )

    def _factor(self, a: Tensor, b: Tensor, core: Tensor | None) -> LowRank:
        if core is None:
            return LowRank(a, b.view(b.shape[0], *self.shape[1:]))
        return LowRank(a.t(), _contract_core(core, b))

    def state_tensors(self) -> dict[str, Tensor]:
        cores = {} if self.t1 is None else {"hada_t1": self.t1, "hada_t2": self.t2}
        factors = {f"hada_{name}": getattr(self, name) for name in ("w1_a", "w1_b", "w2_a", "w2_b")}
        return {**factors, **cores, "alpha": alpha_tensor(self.scale * self.rank)}

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        if self.t1 is not None:
            self._fit_tucker(delta.double() / self.scale)
            return
        target, r = delta.double().flatten(1) / self.scale, self.rank
        product = truncated_svd(target, r)
        a1, a2 = torch.zeros_like(self.w1_a, dtype=torch.float64), torch.zeros_like(self.w2_a, dtype=torch.float64)
        b1, b2 = self.w1_b.detach().to(torch.float64, copy=True), self.w2_b.detach().to(torch.float64, copy=True)
        a1[:, 0], b1[0] = 1, 1
        a2[:, : product.up.shape[1]], b2[: product.up.shape[1]] = product.up, product.down
        # so far ones ∘ the nearest low rank; each step below comes nearer
        for _ in range(_ALS_SWEEPS):
            a1 = _solve_left_factor(target, b1, a2 @ b2)
            a2 = _solve_left_factor(target, b2, a1 @ b1)
            b1 = _solve_left_factor(target.t(), a1.t(), (a2 @ b2).t()).t()
            b2 = _solve_left_factor(target.t(), a2.t(), (a1 @ b1).t()).t()
        with torch.no_grad():
            for ours, values in zip((self.w1_a, self.w1_b, self.w2_a, self.w2_b), (a1, b1, a2, b2), strict=True):
                ours.copy_(values)

    @torch.no_grad()
    def _fit_tucker(self, target: Tensor) -> None:
        """The same with cores: each of the six factors in turn, the others held."""
        assert self.t1 is not None
        assert self.t2 is not None
        halves = [[p.to(torch.float64, copy=True) for p in (self.w1_a, self.t1, self.w1_b)]]
        up, core, down = tucker_decomposition(target, self.rank)
        halves.append([up.t(), core, down])
        a, t, b = halves[0]
        a.zero_()
        a[0], b[0], t[0] = 1, 1, 0
        t[0, 0] = 1  # ones ∘ the nearest Tucker form; each step below comes nearer
        wholes = [torch.einsum("rs...,ro,si->oi...", t, a, b) for a, t, b in halves]
        for _ in range(_ALS_SWEEPS):
            for step in range(3):
                for i, half in enumerate(halves):
                    half[step] = _solve_tucker_factor(target, half, wholes[1 - i], step)
                    a, t, b = half
                    wholes[i] = torch.einsum("rs...,ro,si->oi...", t, a, b)
        for ours, values in zip(
            (self.w1_a, self.t1, self.w1_b, self.w2_a, self.t2, self.w2_b), (*halves[0], *halves[1]), strict=True
        ):
            ours.copy_(values)

    @classmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        if "hada_t1" in shapes:
            return shapes["hada_w1_a"][1], shapes["hada_w1_b"][1], *shapes["hada_t1"][2:]
        return shapes["hada_w1_a"][0], shapes["hada_w1_b"][1], None

    @classmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        rank = shapes["hada_w1_b"][0]
        return {"rank": rank, "alpha": constants.get("alpha", rank), "tucker": "hada_t1" in shapes}


@full_precision
def _contract_core(core: Tensor, b: Tensor) -> Tensor:
    """[r, s, *kernel] and [s, in] to [r, in, *kernel]."""
    return torch.einsum("rs...,si->ri...", core, b)


def _solve_left_factor(target: Tensor, right: Tensor, other: Tensor) -> Tensor:
    """The left factor with (left · right) ∘ other nearest to the target, row by row a least-squares problem.

    Args:
        target, other: [out, row].
        right: [rank, row].
    """
    rank = right.shape[0]
    squares = (right.unsqueeze(1) * right.unsqueeze(0)).flatten(0, 1)
    normal = (other.square() @ squares.t()).view(-1, rank, rank)
    return _solve_normal_equations(normal, (other * target) @ right.t())


def _solve_normal_equations(normal: Tensor, sides: Tensor) -> Tensor:
    """Solutions [rows, n] of normal equations [rows, n, n] with right sides [rows, n]."""
    least = 1e-12 * normal.diagonal(dim1=1, dim2=2).amax().clamp_min(1e-30)  # where a row has several solutions
    return torch.linalg.solve(normal + least * torch.eye(normal.shape[-1]).to(normal), sides)


def _solve_tucker_factor(target: Tensor, half: list[Tensor], other: Tensor, step: int) -> Tensor:
    """One of a [r, out], core [r, s, *kernel] and b [s, in], with (core through a and b) ∘ other nearest to the target.

    Args:
        target, other: [out, in, *kernel].
        half: the three.
        step: which of them.
    """
    a, core, b = half
    if step == 0:
        return _solve_left_factor(target.flatten(1), _contract_core(core, b).flatten(1), other.flatten(1)).t()
    if step == 2:
        left = torch.einsum("rs...,ro->so...", core, a).flatten(1)
        return _solve_left_factor(target.transpose(0, 1).flatten(1), left, other.transpose(0, 1).flatten(1)).t()
    rank, kernel = a.shape[0], core.shape[2:]
    weights, wanted = (values.flatten(2).permute(2, 0, 1) for values in (other.square(), other * target))
    ways = (torch.einsum("ro,qo->rqo", a, a).flatten(0, 1), torch.einsum("si,ti->sti", b, b).flatten(0, 1))
    normal = (ways[0] @ weights @ ways[1].t()).view(-1, rank, rank, rank, rank).transpose(2, 3).flatten(3).flatten(1, 2)
    sides = (a @ wanted @ b.t()).flatten(1)
    return _solve_normal_equations(normal, sides).t().reshape(rank, rank, *kernel)
