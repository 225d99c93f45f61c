"""Shapes of the tensors that bases, training and sampling pass to each other; names agree within a signature."""

from __future__ import annotations

from jaxtyping import Float, Num
from torch import Tensor

Images = Float[Tensor, "batch 3 height width"]
"""RGB in [0, 1]."""
Latents = Float[Tensor, "batch channels rows columns"]
"""Scaled latents, clean or noisy."""
Patches = Float[Tensor, "batch patch_channels patch_rows patch_columns"]
"""Latents, or patches of latents as channels."""
Timesteps = Num[Tensor, " batch"]
"""One per latent: whole numbers of discrete diffusion, fractions of flow matching."""
ImageSizes = Float[Tensor, "batch 6"]
"""Original (height, width), crop (top, left) and target (height, width) of each image, in pixels."""
