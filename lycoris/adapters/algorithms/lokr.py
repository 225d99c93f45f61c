"""LoKr: the Kronecker product of a small and a large factor (KronA, Edalati et al. 2022, arXiv 2212.10650)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer, alpha_scale, alpha_tensor
from lycoris.adapters.low_rank_approximation import assign_low_rank, tucker_decomposition
from lycoris.adapters.structures.structures import Kronecker, full_precision
from lycoris.errors import InputError

_ALS_SWEEPS = 20
"""Of alternating least squares in `fit`, where a factor is itself a product."""


def factorization(size: int, factor: int) -> tuple[int, int]:
    """A size as an ascending product of two: 320 with factor 8 is (8, 40), with -1 (16, 20), with 6 (5, 64).

    When `factor` divides `size` it is taken; else the first grows through the divisors as long as it is at most
    `factor` (any, for -1) and the sum of the two shrinks.
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


class LoKr(Adapter):
    """ΔW = scale · (w1 ⊗ w2), w1 small, w2 large and full unless a rank is given; w2 (or w2_b) starts at 0.

    With (a, c) = split(out) and (b, d) = split(in), w1 is [a, b] and w2 [c, d, *kernel]. The scale is 1 when both are
    full, else alpha / rank.

    Args:
        site: the layer.
        factor: size of w1's sides, where it divides the layer's; -1 for as square as it goes. 8 by default.
        rank: decompose w2 into [c, rank] · [rank, d·kernel]; from max(c, d) / 2 on it stays full, as files define it.
        alpha: numerator of the scale; rank / 2 by default.
        decompose_both: decompose w1 too, when rank < max(a, b) / 2.
        tucker: for kernels larger than 1, a [rank, rank, *kernel] core in w2.
        unbalanced: w1 is tall: out is split (c, a) instead of (a, c).
        rank_stabilised: divide alpha by √rank instead of rank.
        sides: (a, b, c, d) themselves, instead of `factor`.
    """

    algorithm = "lokr"
    signature_keys = frozenset({"lokr_w1", "lokr_w1_a"})
    zero_factors = ("lokr_w2", "lokr_w2_b")

    def __init__(
        self,
        site: TargetLayer,
        *,
        factor: int | None = None,
        rank: int | None = None,
        alpha: float | None = None,
        decompose_both: bool = False,
        tucker: bool = False,
        unbalanced: bool = False,
        rank_stabilised: bool = False,
        sides: tuple[int, int, int, int] | None = None,
    ):
        super().__init__()
        out, channels, *kernel = site.shape
        a, b, c, d = self._sides(site, factor, unbalanced) if sides is None else sides
        if (a * c, b * d) != (out, channels):
            raise InputError(f"Argument `sides` must multiply to {[out, channels]}, but got {sides} for `{site.name}`.")
        r = 0 if rank is None else site.resolve_rank(rank, 8, max(out, site.row_size))
        if rank is None and alpha is not None:
            raise InputError(f"Argument `alpha` needs a `rank` for LoKr: full factors have scale 1, but got {alpha!r}.")
        small = decompose_both and 0 < r < max(a, b) / 2
        large = 0 < r < max(c, d) / 2
        self.rank = r if small or large else None
        self.scale = alpha_scale(alpha, r, rank_stabilised) if small or large else 1.0
        self.kernel = tuple(kernel)
        cored = tucker and large and any(size > 1 for size in kernel)

        self.w1 = None if small else site.kaiming(a, b)
        self.w1_a = site.kaiming(a, r) if small else None
        self.w1_b = site.kaiming(r, b) if small else None
        self.w2 = None if large else site.zero_factor(c, d, *kernel)
        self.w2_a = self.w2_b = self.t2 = None
        if cored:
            self.w2_a, self.w2_b = site.kaiming(r, c), site.zero_factor(r, d)
            self.t2 = site.kaiming(r, r, *kernel)
        elif large:
            self.w2_a, self.w2_b = site.kaiming(c, r), site.zero_factor(r, d * (site.row_size // channels))

    @staticmethod
    def _sides(site: TargetLayer, factor: int | None, unbalanced: bool) -> tuple[int, int, int, int]:
        factor = 8 if factor is None else factor
        if isinstance(factor, bool) or not isinstance(factor, int) or (factor < 1 and factor != -1):
            raise InputError(f"Argument `factor` must be -1 or a whole number of at least 1, but got {factor!r}.")
        (a, c), (b, d) = factorization(site.shape[0], factor), factorization(site.shape[1], factor)
        return (c, b, a, d) if unbalanced else (a, b, c, d)

    def structure(self, weight: Tensor, scale: float = 1.0) -> Kronecker:
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
        found = {name: value for name, value in names.items() if value is not None}
        return {**found, "alpha": alpha_tensor(self.scale * (self.rank or 1))}

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
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
        """Take the values nearest to a left factor, and say what it is now."""
        if self.w1 is not None:
            self.w1.copy_(w1)
            return w1
        assert self.w1_a is not None
        assert self.w1_b is not None
        assign_low_rank(self.w1_a, self.w1_b, w1)
        return self.w1_a.double() @ self.w1_b.double()

    @torch.no_grad()
    def _assign_inner(self, w2: Tensor) -> Tensor:
        """The same for a right factor."""
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
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
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
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        tucker = "lokr_t2" in shapes
        a, b = shapes["lokr_w1"] if "lokr_w1" in shapes else (shapes["lokr_w1_a"][0], shapes["lokr_w1_b"][1])
        c = site.shape[0] // max(a, 1)
        d = site.shape[1] // max(b, 1)
        rank = next((shapes[key][0] for key in ("lokr_w1_b", "lokr_w2_b") if key in shapes), None)
        found: dict = {"sides": (a, b, c, d), "rank": rank, "decompose_both": "lokr_w1_a" in shapes, "tucker": tucker}
        return found | ({} if rank is None else {"alpha": constants.get("alpha", rank)})


@full_precision
def _product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


@full_precision
def _tucker_product(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """[r, s, *kernel], [r, k] and [s, n] to [k, n, *kernel]."""
    return torch.einsum("rs...,rk,sn->kn...", core, a, b)
