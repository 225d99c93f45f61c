"""T-LoRA: orthogonal LoRA with fewer ranks at noisier steps (Soboleva et al. 2025, arXiv 2507.05964)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Adapter, PartialShape, TargetLayer, alpha_scale, alpha_tensor
from lycoris.adapters.initialization import product_delta, randomized_svd
from lycoris.adapters.low_rank_approximation import assign_low_rank
from lycoris.adapters.structures.structures import LowRank, Operation, Structure
from lycoris.errors import InputError


@dataclass(slots=True)
class RankMasked(Structure):
    """A low rank of which each sample of the batch uses its own ranks."""

    low_rank: LowRank
    mask: Tensor
    """[batch, rank], of zeros and ones."""

    def dense(self) -> Tensor:
        if (self.mask != self.mask[:1]).any():
            raise InputError("T-LoRA has no single weight while samples of a batch are at different timesteps.")
        return LowRank(self.low_rank.up * self.mask[0], self.low_rank.down, self.low_rank.scale).dense()

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base: Tensor | None = None) -> Tensor:
        if op.groups > 1 or x.shape[0] % self.mask.shape[0]:
            change = op(x, self.dense().to(x.dtype))
            return change if into is None else into + change
        dtype = x.dtype if into is None else into.dtype
        hidden = op(x.to(dtype), self.low_rank.down.to(dtype))
        mask = self.mask.to(dtype).repeat_interleave(x.shape[0] // self.mask.shape[0], 0)
        up = self.low_rank.up * self.low_rank.scale
        change = op.pointwise(hidden * mask.view(*mask.shape, *(1,) * op.dims), up.to(dtype))
        return change if into is None else into.add_(change)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        return self.low_rank.cost(op, tokens)[0], float("inf")


class TLoRA(Adapter):
    """ΔW = alpha/rank · (P·λ·Q - P₀·λ₀·Q₀), the first ranks alone where the timestep is high.

    P, Q start as singular vectors of a random matrix and λ as its values, so that every rank has a direction of its
    own; P₀, λ₀, Q₀ are their start, kept. Files are LoRA's, of twice the rank. `timestep` is set on the network
    before a step; without it all ranks act. While samples of a batch are at different timesteps, the batch must be
    the leading axis of the layer's input.

    Args:
        site: the layer.
        rank: in [1, min(out, in·kernel)]; 8 by default.
        alpha: numerator of the scale; rank / 2 by default.
        minimum: ranks at the highest timestep, in [1, rank]; half of them by default.
        steps: number of timesteps of the noise schedule.
    """

    algorithm = "t-lora"
    signature_keys = frozenset({"lora_up.weight"})
    header_options = ("minimum", "steps")
    base_p: Tensor
    base_values: Tensor
    base_q: Tensor

    def __init__(
        self,
        site: TargetLayer,
        *,
        rank: int | None = None,
        alpha: float | None = None,
        minimum: int | None = None,
        steps: int = 1000,
    ):
        super().__init__()
        out, channels, *kernel = site.shape
        self.rank = r = site.resolve_rank(rank, 8, min(out, site.row_size))
        self.minimum = max(1, r // 2) if minimum is None else minimum
        if not 1 <= self.minimum <= r:
            raise InputError(f"Argument `minimum` must be in [1, {r}], but got {minimum!r} for layer `{site.name}`.")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise InputError(f"Argument `steps` must be a whole number of at least 1, but got {steps!r}.")
        self.steps = steps
        self.scale = alpha_scale(alpha, r, False)
        self.timestep = None
        drawn = site.normal(out, site.row_size, std=1 / r).detach()
        p, values, q = (drawn.new_empty(out, r), drawn.new_empty(r), drawn.new_empty(r, site.row_size))
        if drawn.device.type != "meta":
            p, values, q = randomized_svd(drawn, site.normal(site.row_size, min(2 * r, *drawn.shape)).detach(), r)
        self.p, self.values, self.q = (
            site.from_values(p),
            site.from_values(values),
            site.from_values(q.reshape(r, channels, *kernel)),
        )
        for name in ("p", "values", "q"):
            self.register_buffer(f"base_{name}", getattr(self, name).detach().clone())
        self._ones = (1,) * len(kernel)

    def structure(self, weight: Tensor, scale: float = 1.0) -> Structure:
        whole = product_delta(
            self.p * self.values, self.q, self.base_p * self.base_values, self.base_q, self.scale * scale
        )
        if self.timestep is None:
            return whole
        active = ((self.steps - self.timestep.float()) / self.steps * (self.rank - self.minimum)).long() + self.minimum
        mask = torch.arange(self.rank, device=self.p.device) < active.to(self.p.device).view(-1, 1)
        return RankMasked(whole, torch.cat([mask, mask], 1).to(self.p.dtype))

    def state_tensors(self) -> dict[str, Tensor]:
        up = torch.cat([self.p * self.values, -self.base_p * self.base_values], 1)
        return {
            "lora_up.weight": up.view(*up.shape, *self._ones),
            "lora_down.weight": torch.cat([self.q, self.base_q]),
            "alpha": alpha_tensor(self.scale * 2 * self.rank),
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        up, down = tensors["lora_up.weight"].flatten(1), tensors["lora_down.weight"]
        with torch.no_grad():
            self.p.copy_(up[:, : self.rank])
            self.base_p.copy_(-up[:, self.rank :])
            self.q.copy_(down[: self.rank])
            self.base_q.copy_(down[self.rank :])
            self.values.fill_(1)
            self.base_values.fill_(1)

    def fit_delta(self, delta: Tensor, bias_delta: Tensor | None = None) -> None:
        assign_low_rank(self.p, self.q, delta / self.scale)
        with torch.no_grad():
            self.values.fill_(1)
            self.base_values.fill_(0)

    @classmethod
    def infer_shape(cls, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]) -> PartialShape:
        return shapes["lora_up.weight"][0], *shapes["lora_down.weight"][1:]

    @classmethod
    def infer_options(
        cls, site: TargetLayer, shapes: Mapping[str, tuple[int, ...]], constants: Mapping[str, float]
    ) -> dict:
        twice = shapes["lora_up.weight"][1]
        return {"rank": twice // 2, "alpha": constants.get("alpha", twice) / 2}
