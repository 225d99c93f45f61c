"""LoKr: the Kronecker product of a small and a large factor (KronA, Edalati et al. 2022, arXiv 2212.10650)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lycoris.adapters.adapter import Adapter, Site, alpha_tensor, scale_of
from lycoris.errors import InputError
from lycoris.structure import Kronecker, exact


def split(size: int, factor: int) -> tuple[int, int]:
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
    signature = frozenset({"lokr_w1", "lokr_w1_a"})
    zero_start = ("lokr_w2", "lokr_w2_b")

    def __init__(
        self,
        site: Site,
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
        if rank is not None:
            rank = site.rank(rank, 8, max(out, site.row))
        elif alpha is not None:
            raise InputError(f"Argument `alpha` needs a `rank` for LoKr: full factors have scale 1, but got {alpha!r}.")
        small = rank is not None and decompose_both and rank < max(a, b) / 2
        large = rank is not None and rank < max(c, d) / 2
        self.rank = rank if small or large else None
        self.scale = scale_of(alpha, rank, rank_stabilised) if rank is not None and self.rank else 1.0
        self.kernel = tuple(kernel)
        tucker = tucker and large and any(size > 1 for size in kernel)

        self.w1 = None if small else site.kaiming(a, b)
        self.w1_a = site.kaiming(a, rank) if small else None
        self.w1_b = site.kaiming(rank, b) if small else None
        self.w2 = None if large else site.zero_start(c, d, *kernel)
        self.w2_a = self.w2_b = self.t2 = None
        if large and tucker:
            self.w2_a, self.w2_b = site.kaiming(rank, c), site.zero_start(rank, d)
            self.t2 = site.kaiming(rank, rank, *kernel)
        elif large:
            self.w2_a, self.w2_b = site.kaiming(c, rank), site.zero_start(rank, d * (site.row // channels))

    @staticmethod
    def _sides(site: Site, factor: int | None, unbalanced: bool) -> tuple[int, int, int, int]:
        factor = 8 if factor is None else factor
        if isinstance(factor, bool) or not isinstance(factor, int) or (factor < 1 and factor != -1):
            raise InputError(f"Argument `factor` must be -1 or a whole number of at least 1, but got {factor!r}.")
        (a, c), (b, d) = split(site.shape[0], factor), split(site.shape[1], factor)
        return (c, b, a, d) if unbalanced else (a, b, c, d)

    def structure(self, weight: Tensor, scale: float = 1.0) -> Kronecker:
        w1 = self.w1 if self.w1 is not None else _product(self.w1_a, self.w1_b)
        if self.w2 is not None:
            w2 = self.w2
        elif self.t2 is not None:
            w2 = _tucker(self.t2, self.w2_a, self.w2_b)
        else:
            w2 = _product(self.w2_a, self.w2_b)
            w2 = w2.view(w2.shape[0], -1, *self.kernel)
        return Kronecker(w1, w2, self.scale * scale)

    def tensors(self) -> dict[str, Tensor]:
        names = {"lokr_w1": self.w1, "lokr_w1_a": self.w1_a, "lokr_w1_b": self.w1_b, "lokr_w2": self.w2}
        names |= {"lokr_w2_a": self.w2_a, "lokr_w2_b": self.w2_b, "lokr_t2": self.t2}
        found = {name: value for name, value in names.items() if value is not None}
        return {**found, "alpha": alpha_tensor(self.scale * (self.rank or 1))}

    @classmethod
    def options_of(cls, site: Site, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> dict:
        tucker = "lokr_t2" in shapes
        a, b = shapes["lokr_w1"] if "lokr_w1" in shapes else (shapes["lokr_w1_a"][0], shapes["lokr_w1_b"][1])
        c = site.shape[0] // max(a, 1)
        d = site.shape[1] // max(b, 1)
        rank = next((shapes[key][0] for key in ("lokr_w1_b", "lokr_w2_b") if key in shapes), None)
        found: dict = {"sides": (a, b, c, d), "rank": rank, "decompose_both": "lokr_w1_a" in shapes, "tucker": tucker}
        return found | ({} if rank is None else {"alpha": constants.get("alpha", rank)})


@exact
def _product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


@exact
def _tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """[r, s, *kernel], [r, k] and [s, n] to [k, n, *kernel]."""
    return torch.einsum("rs...,rk,sn->kn...", core, a, b)
