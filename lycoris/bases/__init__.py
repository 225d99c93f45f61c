"""Base models behind one face: text to conditions, pictures to latents, noise to predictions.

A family is one file and one line in `BASES`. Training and sampling know no family: they call the face below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lycoris.bases.conditions import Conditions
from lycoris.bases.folder import find_folder, read_json
from lycoris.bases.noise import DiscreteNoise, Noise
from lycoris.bases.stable_diffusion import StableDiffusion
from lycoris.bases.tokens import TruncatedPrompt
from lycoris.errors import InputError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Num
    from torch import Tensor, nn

__all__ = [
    "BASES",
    "Base",
    "Conditions",
    "DiscreteNoise",
    "Noise",
    "StableDiffusion",
    "TruncatedPrompt",
    "digest",
    "open_base",
]


class Base(Protocol):
    """What training, sampling and scoring ask of a base model.

    Attributes:
        source: the name or folder it was opened from.
        family: its key in `BASES`.
        digest: SHA-256 over weights, configurations and vocabulary, in hexadecimal.
        resolution: side of the square picture it was trained for, in pixels.
        factor: pixels a latent cell, along each side.
        latent_channels: channels of a latent.
        device: where its modules are.
        dtype: what its frozen weights are kept in.
        tokenizer: text to token ids.
        parts: the modules that can be adapted, by name; all frozen and in evaluation mode.
        vae: pictures to latents and back.
        scheduler_config: the noise schedule as its files state it.
        noise: how latents are noised and what is to be predicted.
    """

    source: str
    family: str
    resolution: int
    factor: int
    latent_channels: int
    device: torch.device
    dtype: torch.dtype
    tokenizer: Any
    parts: dict[str, nn.Module]
    vae: nn.Module
    scheduler_config: Mapping[str, Any]
    noise: Noise

    @property
    def digest(self) -> str: ...

    def encode_text(self, prompts: Sequence[str]) -> Conditions:
        """The conditions of each prompt; differentiable where a text encoder is adapted."""
        ...

    def encode_images(
        self, images: Float[Tensor, "batch 3 height width"], generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch channels rows columns"]:
        """Scaled latents of pictures in [0, 1]; the posterior's mean, or a sample when given a generator."""
        ...

    def decode_latents(
        self, latents: Float[Tensor, "batch channels rows columns"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Pictures in [0, 1] of scaled latents."""
        ...

    def predict(
        self,
        noisy: Float[Tensor, "batch channels rows columns"],
        timesteps: Num[Tensor, " batch"],
        conditions: Conditions,
        sizes: Float[Tensor, "batch 6"] | None = None,
    ) -> Float[Tensor, "batch channels rows columns"]:
        """What the denoiser says of noisy latents, in float32; differentiable.

        Args:
            noisy: latents.
            timesteps: one a latent, as `noise` draws them or a scheduler of the family counts them.
            conditions: one a latent.
            sizes: original (height, width), crop (top, left) and target (height, width) of each picture in pixels;
                None is a picture of the latents' own size, uncropped. Families without size conditioning do not look.
        """
        ...

    def pipeline(self) -> Any:
        """A diffusers pipeline that shares the modules, adapters included."""
        ...


BASES: dict[str, type[StableDiffusion]] = {
    "stable-diffusion": StableDiffusion,
}
"""Families of base models; the first that recognises a folder opens it."""


def open_base(
    source: str | Path = "pocket",
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
) -> Base:
    """Open a base model, frozen and ready to be adapted, trained on and drawn with.

    Args:
        source: ``"pocket"`` for the embedded model, a folder in the diffusers layout, or a hub name.
        device: a torch device; ``"auto"`` takes the GPU when there is one.
        dtype: precision of the frozen weights; ``"auto"`` is float32 on a CPU and on a GPU without
            bfloat16, else bfloat16. Files of another precision are converted on opening.

    Returns:
        The base of the family that recognises the folder.

    Raises:
        InputError: nothing is there, parts are missing, weights are pickled or incomplete, or no family fits.
    """
    folder, family = _family(source)
    return family(folder, source=str(source), device=device, dtype=dtype)


def digest(source: str | Path = "pocket") -> str:
    """SHA-256 over the files of a base, as `Base.digest` gives it, without opening the model.

    Args:
        source: as for `open_base`.

    Raises:
        InputError: nothing is there, parts are missing, or no family fits.
    """
    folder, family = _family(source)
    return family.digest_of(folder)


def _family(source: str | Path) -> tuple[Path, type[StableDiffusion]]:
    """The folder of a base and the family that recognises it."""
    folder = find_folder(source)
    for family in BASES.values():
        if family.recognises(folder):
            return folder, family
    kind = read_json(folder / "model_index.json").get("_class_name")
    raise InputError(f"Base `{source}` is a {kind}, which no family opens; known: {', '.join(BASES)}.")
