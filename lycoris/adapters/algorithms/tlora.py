"""T-LoRA: orthogonal LoRA with fewer ranks at noisier timesteps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lycoris.adapters.algorithms.adapter import Algorithm, Constants, Examples, Shapes
from lycoris.adapters.algorithms.alpha import alpha_scale, alpha_tensor
from lycoris.adapters.algorithms.lora import LoRA
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.initialization import product_delta, randomized_svd
from lycoris.adapters.low_rank_approximation import assign_low_rank
from lycoris.adapters.structures import LowRank, Operation, Structure
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

    def apply(self, op: Operation, x: Tensor, into: Tensor | None = None, base_output: Tensor | None = None) -> Tensor:
        if op.groups > 1 or x.shape[0] % self.mask.shape[0]:
            update = op(x, self.dense().to(x.dtype))
            return update if into is None else into + update
        dtype = x.dtype if into is None else into.dtype
        hidden = op(x.to(dtype), self.low_rank.down.to(dtype))
        mask = self.mask.to(dtype).repeat_interleave(x.shape[0] // self.mask.shape[0], 0)
        up = self.low_rank.up * self.low_rank.scale
        update = op.pointwise(hidden * mask.view(*mask.shape, *(1,) * op.dims), up.to(dtype))
        return update if into is None else into.add_(update)

    def cost(self, op: Operation, tokens: int) -> tuple[float, float]:
        return self.low_rank.cost(op, tokens)[0], float("inf")


class TLoRA(Algorithm):
    """ΔW = alpha/rank · (P·λ·Q - P₀·λ₀·Q₀), of which only the first ranks act at high timesteps.

    Soboleva et al. 2025, arXiv 2507.05964. P, λ and Q start as singular vectors and values of a random matrix, so that
    every rank has a direction of its own; P₀, λ₀ and Q₀ are their initial values. Files are LoRA files of twice the
    rank. Set `timestep` on the network before a step, or `rank_mask` [batch, rank] of zeros and ones; without them all
    ranks act. While samples of a batch are at different timesteps, the batch must be the leading axis of the layer's
    input.

    Args:
        target: the layer.
        rank: in [1, min(out, in·kernel)]; 8 by default.
        alpha: numerator of the scale; rank / 2 by default.
        minimum: number of ranks at the highest timestep, in [1, rank]; half of them by default.
        steps: number of timesteps of the noise schedule.
    """

    algorithm = "t-lora"
    title = "T-LoRA"
    citation = "Soboleva et al. 2025, arXiv 2507.05964"
    formula = "LoRA minus its initial value, with fewer ranks at noisier steps; set `network.timestep` before a step"
    aliases = ("tlora",)
    examples: ClassVar[Examples] = {"rank and alpha": {"rank": 3, "alpha": 2.0}}
    default_rank = 8
    has_exact_rank = True
    random_start = True
    signature_keys = frozenset({"lora_up.weight"})
    header_options = ("minimum", "steps")
    kohya_name = "tlora"
    peft_type = "LORA"
    base_p: Tensor
    base_values: Tensor
    base_q: Tensor

    def __init__(
        self,
        target: TargetLayer,
        *,
        rank: int | None = None,
        alpha: float | None = None,
        minimum: int | None = None,
        steps: int = 1000,
    ):
        super().__init__()
        out, channels, *kernel = target.shape
        self.rank = r = target.resolve_rank(rank, self.default_rank, min(out, target.row_size))
        self.minimum = max(1, r // 2) if minimum is None else minimum
        if not 1 <= self.minimum <= r:
            raise InputError(f"Argument `minimum` must be in [1, {r}], but got {minimum!r} for layer `{target.name}`.")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise InputError(f"Argument `steps` must be a whole number of at least 1, but got {steps!r}.")
        self.steps = steps
        self.scale = alpha_scale(alpha, r)
        self.timestep = None
        self.rank_mask: Tensor | None = None
        matrix = target.normal(out, target.row_size, std=1 / r).detach()
        p, values, q = matrix.new_empty(out, r), matrix.new_empty(r), matrix.new_empty(r, target.row_size)
        if matrix.device.type != "meta":
            test = target.normal(target.row_size, min(2 * r, *matrix.shape)).detach()
            p, values, q = randomized_svd(matrix, test, r)
        self.p, self.values = target.from_values(p), target.from_values(values)
        self.q = target.from_values(q.reshape(r, channels, *kernel))
        for name in ("p", "values", "q"):
            self.register_buffer(f"base_{name}", getattr(self, name).detach().clone())
        self._ones = (1,) * len(kernel)

    def structure(self, weight: Tensor, scale: float | Tensor = 1.0) -> Structure:
        delta = product_delta(
            self.p * self.values, self.q, self.base_p * self.base_values, self.base_q, self.scale * scale
        )
        if self.rank_mask is not None:
            mask = self.rank_mask.to(self.p.device)
            return RankMasked(delta, torch.cat([mask, mask], 1).to(self.p.dtype))
        if self.timestep is None:
            return delta
        active = ((self.steps - self.timestep.float()) / self.steps * (self.rank - self.minimum)).long() + self.minimum
        mask = torch.arange(self.rank, device=self.p.device) < active.to(self.p.device).view(-1, 1)
        return RankMasked(delta, torch.cat([mask, mask], 1).to(self.p.dtype))

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
    def infer_options(cls, target: TargetLayer, shapes: Shapes, constants: Constants) -> dict:
        doubled_rank = shapes["lora_up.weight"][1]
        return {"rank": doubled_rank // 2, "alpha": constants.get("alpha", doubled_rank) / 2}

    infer_shape = LoRA.infer_shape
    reference_delta = staticmethod(LoRA.reference_delta)
