"""How a family's images are moved towards their prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from lycoris.bases.shapes import Latents

GuidanceKind = Literal["classifier-free", "embedded", "none"]


@dataclass(frozen=True)
class Guidance:
    """The guidance of a model.

    Attributes:
        default: scale that its pipeline has by default, in our convention, where 1 means none.
        kind: ``"classifier-free"`` moves the prediction from the negative prompt's through the prompt's (Ho & Salimans,
            "Classifier-Free Diffusion Guidance"); ``"embedded"`` is an input of the denoiser, which was distilled from
            guided predictions; ``"none"`` is of a model distilled to few steps, whose pipeline ignores the scale.
        is_batched: whether both predictions are computed as one batch; else in two, each with its own padding.
        has_own_encoding: whether negative prompts are encoded in another way than prompts.
        rescale: (guided prediction, the prompt's) → prediction, in families that limit how far guidance moves it.
    """

    default: float = 7.0
    kind: GuidanceKind = "classifier-free"
    is_batched: bool = False
    has_own_encoding: bool = False
    rescale: Callable[[Latents, Latents], Latents] | None = None

    def combine(self, unconditional: Latents, conditional: Latents, scale: float) -> Latents:
        """The guided prediction."""
        guided = torch.lerp(unconditional, conditional, scale)
        return guided if self.rescale is None else self.rescale(guided, conditional)
