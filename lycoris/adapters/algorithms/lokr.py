"""LoKr: the Kronecker product of a small and a large factor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Algorithm, Constants, Examples, PartialShape, Shapes
from lycoris.adapters.algorithms.alpha import alpha_scale, alpha_tensor
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.low_rank_approximation import assign_low_rank, tucker_decomposition
from lycoris.adapters.structures import Kronecker, full_precision
from lycoris.errors import InputError

_ALS_SWEEPS = 20
"""Sweeps of alternating least squares in `fit_delta`, where a factor is itself a product."""


def factorization(size: int, factor: int) -> tuple[int, int]:
    """Split a size into an ascending product of two: 320 with factor 8 is (8, 40), with -1 (16, 20), with 6 (5, 64).

    A `factor` that divides `size` is one of the two. Otherwise the first is the largest divisor up to `factor` (any,
    for -1) for which the sum of the two still falls.
    """
    if factor > 0 and size % factor == 0:
        return min(factor, size // factor), max(factor, size // factor)
    best = (1, size)
    limit = size if factor < 0 else factor
    for first in range(2, limit + 1):
        if best[0] >= best[1] or first + size // first > sum(best):
            break
        if size % first == 0:
            best = (first, size // first)
    return min(best), max(best)


def check_factor(factor: int) -> None:
    """Check the option `factor`.

    Raises:
        InputError: it is neither -1 nor a whole number of at least 1.
    """
    if isinstance(factor, bool) or not isinstance(factor, int) or (factor < 1 and factor != -1):
        raise InputError(f"Argument `factor` must be -1 or a whole number of at least 1, but got {factor!r}.")


class LoKr(Algorithm):
    """ΔW = scale · (w1 ⊗ w2), w1 small, w2 large and full unless a rank is given; w2 (or w2_b) starts at 0.

    KronA, Edalati et al. 2022, arXiv 2212.10650. With (a, c) = factorization(out) and (b, d) = factorization(in), w1 is
    [a, b] and w2 is [c, d, *kernel]. The scale is 1 when both are full, else alpha / rank.

    Args:
        target: the layer.
        factor: size of w1's sides, where it divides the layer's; -1 for the most even split.
        rank: decompose w2 into [c, rank] · [rank, d·kernel]. From max(c, d) / 2 on it stays full, as files define it.
        alpha: numerator of the scale; rank / 2 by default.
        decompose_both: decompose w1 too, when rank < max(a, b) / 2.
        tucker: for kernels larger than 1, put a [rank, rank, *kernel] core in w2.
        unbalanced: split the outputs as (c, a) instead of (a, c), so that w1 is tall.
        rank_stabilised: divide alpha by √rank instead of rank.
        sides: (a, b, c, d) themselves, instead of `factor`.
        factored: whether w1 and w2 are products at any rank, as a file's tensors tell.
    """

    algorithm = "lokr"
    title = "LoKr"
    citation = "Edalati et al. 2022, arXiv 2212.10650"
    formula = "w1 ⊗ w2; s · (w1 ⊗ w2_a·w2_b) with a rank"
    examples: ClassVar[Examples] = {
        "factor": {"factor": 4},
        "square": {"factor": -1},
        "rank stabilised": {"factor": 2, "rank": 2, "alpha": 3.0, "rank_stabilised": True},
        "scalar": {"factor": 4, "scalar": True},
        "scalar and low rank": {"factor": 2, "rank": 2, "alpha": 3.0, "scalar": True},
        "low rank": {"factor": 2, "rank": 2, "alpha": 3.0},
        "both low rank": {"factor": -1, "rank": 1, "alpha": 0.7, "decompose_both": True},
        "tucker": {"factor": 2, "rank": 2, "alpha": 3.0, "tucker": True},
        "unbalanced": {"factor": 2, "unbalanced": True},
    }
    random_start = True
    zero_factors = ("lokr_w2", "lokr_w2_b")
    signature_keys = frozenset({"lokr_w1", "lokr_w1_a"})
    peft_type = "LOKR"

    def __init__(
        self,
        target: TargetLayer,
        *,
        factor: int = 8,
        rank: int | None = None,
        alpha: float | None = None,
        decompose_both: bool = False,
        tucker: bool = False,
        unbalanced: bool = False,
        rank_stabilised: bool = False,
        sides: tuple[int, int, int, int] | None = None,
        factored: tuple[bool, bool] | None = None,
    ):
        super().__init__()
        out, channels, *kernel = target.shape
        a, b, c, d = self._sides(target, factor, unbalanced) if sides is None else sides
        if (a * c, b * d) != (out, channels):
            raise InputError(
                f"Argument `sides` must multiply to {[out, channels]}, but got {sides} for `{target.name}`."
            )
        r = 0 if rank is None else target.resolve_rank(rank, None, max(out, target.row_size))
        if rank is None and alpha is not None:
            raise InputError(f"Argument `alpha` needs a `rank` for LoKr: full factors have scale 1, but got {alpha!r}.")
        decompose_outer, decompose_inner = factored or (decompose_both and 0 < r < max(a, b) / 2, 0 < r < max(c, d) / 2)
        self.rank = r if decompose_outer or decompose_inner else None
        self.scale = alpha_scale(alpha, r, rank_stabilised) if decompose_outer or decompose_inner else 1.0
        self.kernel = tuple(kernel)
        with_core = tucker and decompose_inner and any(size > 1 for size in kernel)

        self.w1 = None if decompose_outer else target.kaiming(a, b)
        self.w1_a = target.kaiming(a, r) if decompose_outer else None
        self.w1_b = target.kaiming(r, b) if decompose_outer else None
        self.w2 = None if decompose_inner else target.zero_factor(c, d, *kernel)
        self.w2_a = self.w2_b = self.t2 = None
        if with_core:
            self.w2_a, self.w2_b = target.kaiming(r, c), target.zero_factor(r, d)
            self.t2 = target.kaiming(r, r, *kernel)
        elif decompose_inner:
            self.w2_a, self.w2_b = target.kaiming(c, r), target.zero_factor(r, d * (target.row_size // channels))

    @staticmethod
    def _sides(target: TargetLayer, factor: int, unbalanced: bool) -> tuple[int, int, int, int]:
        check_factor(factor)
        (a, c), (b, d) = factorization(target.shape[0], factor), factorization(target.shape[1], factor)
        return (c, b, a, d) if unbalanced else (a, b, c, d)

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Kronecker:
        w1 = self.w1 if self.w1 is not None else _product(self.w1_a, self.w1_b)
        w2: Tensor
        if self.w2 is not None:
            w2 = self.w2
        elif self.t2 is not None:
            w2 = _tucker_product(self.t2, self.w2_a, self.w2_b)
        else:
            w2 = _product(self.w2_a, self.w2_b)
            w2 = w2.view(w2.shape[0], -1, *self.kernel)
        return Kronecker(w1, w2, self.scale * scale)

    def state_tensors(self) -> dict[str, Tensor]:
        names = {"lokr_w1": self.w1, "lokr_w1_a": self.w1_a, "lokr_w1_b": self.w1_b, "lokr_w2": self.w2}
        names |= {"lokr_w2_a": self.w2_a, "lokr_w2_b": self.w2_b, "lokr_t2": self.t2}
        tensors = {name: value for name, value in names.items() if value is not None}
        return {**tensors, "alpha": alpha_tensor(self.scale * (self.rank or 1))}

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        """Fit by the singular values of the rearranged weight (Van Loan and Pitsianis 1993), alternating if needed."""
        (a, b), c = self._outer_sides(), self._inner_rows()
        blocks = delta.double().reshape(a, c, b, delta.shape[1] // b, *self.kernel).transpose(1, 2)
        inner_shape, rows = blocks.shape[2:], blocks.reshape(a * b, -1) / self.scale
        left, values, right = torch.linalg.svd(rows, full_matrices=False)
        w1, w2 = left[:, 0] * values[0].sqrt(), right[0] * values[0].sqrt()
        for _ in range(1 if self.w1 is not None and self.w2 is not None else _ALS_SWEEPS):
            w1 = rows @ w2 / w2.square().sum().clamp_min(1e-300)
            w1 = self._assign_outer(w1.view(a, b)).flatten()
            w2 = w1 @ rows / w1.square().sum().clamp_min(1e-300)
            w2 = self._assign_inner(w2.view(inner_shape)).flatten()

    def _outer_sides(self) -> tuple[int, int]:
        if self.w1 is not None:
            return self.w1.shape[0], self.w1.shape[1]
        assert self.w1_a is not None
        assert self.w1_b is not None
        return self.w1_a.shape[0], self.w1_b.shape[1]

    def _inner_rows(self) -> int:
        if self.w2 is not None:
            return self.w2.shape[0]
        assert self.w2_a is not None
        return self.w2_a.shape[0 if self.t2 is None else 1]

    @torch.no_grad()
    def _assign_outer(self, w1: Tensor) -> Tensor:
        """Set the outer factor to the nearest values, and return it."""
        if self.w1 is not None:
            self.w1.copy_(w1)
            return w1
        assert self.w1_a is not None
        assert self.w1_b is not None
        assign_low_rank(self.w1_a, self.w1_b, w1)
        return self.w1_a.double() @ self.w1_b.double()

    @torch.no_grad()
    def _assign_inner(self, w2: Tensor) -> Tensor:
        """Set the inner factor to the nearest values, and return it."""
        if self.w2 is not None:
            self.w2.copy_(w2)
            return w2
        assert self.w2_a is not None
        assert self.w2_b is not None
        if self.t2 is None:
            assign_low_rank(self.w2_a, self.w2_b, w2.flatten(1))
            return (self.w2_a.double() @ self.w2_b.double()).view(w2.shape)
        up, core, down = tucker_decomposition(w2, self.t2.shape[0])
        self.w2_a.copy_(up.t())
        self.w2_b.copy_(down)
        self.t2.copy_(core)
        return _tucker_product(core, up.t(), down)

    @classmethod
    def infer_shape(cls, shapes: Shapes, constants: Constants) -> PartialShape:
        a, b = shapes["lokr_w1"] if "lokr_w1" in shapes else (shapes["lokr_w1_a"][0], shapes["lokr_w1_b"][1])
        kernel: PartialShape
        if "lokr_w2" in shapes:
            (c, d), kernel = shapes["lokr_w2"][:2], shapes["lokr_w2"][2:]
        elif "lokr_t2" in shapes:
            c, d, kernel = shapes["lokr_w2_a"][1], shapes["lokr_w2_b"][1], shapes["lokr_t2"][2:]
        else:
            c, d, kernel = shapes["lokr_w2_a"][0], shapes["lokr_w2_b"][1], (None,)
        return a * c, b * d, *kernel

    @classmethod
    def infer_options(cls, target: TargetLayer, shapes: Shapes, constants: Constants) -> dict:
        tucker = "lokr_t2" in shapes
        a, b = shapes["lokr_w1"] if "lokr_w1" in shapes else (shapes["lokr_w1_a"][0], shapes["lokr_w1_b"][1])
        c = target.shape[0] // max(a, 1)
        d = target.shape[1] // max(b, 1)
        rank = next((shapes[key][0] for key in ("lokr_w1_b", "lokr_w2_b") if key in shapes), None)
        factored = "lokr_w1_a" in shapes, "lokr_w2_a" in shapes
        options: dict = {"sides": (a, b, c, d), "rank": rank, "factored": factored, "tucker": tucker}
        return options | ({} if rank is None else {"alpha": constants.get("alpha", rank)})

    @staticmethod
    def reference_delta(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        rank, kernel = None, weight.shape[2:]
        if "lokr_w1" in tensors:
            w1 = tensors["lokr_w1"]
        else:
            w1, rank = tensors["lokr_w1_a"] @ tensors["lokr_w1_b"], tensors["lokr_w1_b"].shape[0]
        if "lokr_w2" in tensors:
            w2 = tensors["lokr_w2"]
        elif "lokr_t2" in tensors:
            core, a, b = tensors["lokr_t2"], tensors["lokr_w2_a"], tensors["lokr_w2_b"]
            rank = core.shape[0]
            w2 = torch.zeros(a.shape[1], b.shape[1], *kernel, dtype=weight.dtype)
            for r in range(rank):
                for s in range(rank):
                    w2 += core[r, s] * torch.outer(a[r], b[s]).reshape(*w2.shape[:2], *(1,) * len(kernel))
        else:
            w2, rank = tensors["lokr_w2_a"] @ tensors["lokr_w2_b"], tensors["lokr_w2_b"].shape[0]
            w2 = w2.view(w2.shape[0], -1, *kernel)
        delta = torch.zeros_like(weight)
        k, n = w2.shape[:2]
        for i in range(w1.shape[0]):
            for j in range(w1.shape[1]):
                delta[i * k : (i + 1) * k, j * n : (j + 1) * n] = w1[i, j] * w2
        return delta if rank is None else tensors["alpha"] / rank * delta


@full_precision
def _product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


@full_precision
def _tucker_product(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Contract [r, s, *kernel], [r, k] and [s, n] to [k, n, *kernel]."""
    return torch.einsum("rs...,rk,sn->kn...", core, a, b)
