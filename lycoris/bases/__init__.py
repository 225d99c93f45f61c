"""Base models behind one face: text to conditions, pictures to latents, noise to predictions.

A family is one file and one line in `BASES`. Training and sampling know no family: they call the face below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.families.stable_diffusion import StableDiffusion
from lycoris.bases.families.stable_diffusion_3 import StableDiffusion3
from lycoris.bases.families.stable_diffusion_xl import StableDiffusionXL
from lycoris.bases.files.diffusers_folder import find_base
from lycoris.bases.files.model_files import DiffusersFolder, ModelFiles
from lycoris.bases.files.single_file import SingleFile
from lycoris.bases.flow_matching import FlowMatching
from lycoris.bases.noise import DiscreteDiffusion, ForwardProcess
from lycoris.bases.tokenization import TruncatedPromptWarning
from lycoris.errors import InputError

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Num
    from torch import Tensor, nn

__all__ = [
    "BASES",
    "Base",
    "DiscreteDiffusion",
    "FlowMatching",
    "ForwardProcess",
    "ModelFiles",
    "StableDiffusion",
    "StableDiffusion3",
    "StableDiffusionXL",
    "TextConditioning",
    "TruncatedPromptWarning",
    "digest",
    "load_scheduler_config",
    "load_tokenizer",
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
    vae_scale_factor: int
    latent_channels: int
    device: torch.device
    dtype: torch.dtype
    tokenizer: Any
    parts: dict[str, nn.Module]
    vae: nn.Module
    scheduler_config: Mapping[str, Any]

    @property
    def forward_process(self) -> ForwardProcess: ...

    @property
    def digest(self) -> str: ...

    def encode_text(self, prompts: Sequence[str]) -> TextConditioning:
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
        conditioning: TextConditioning,
        size_conditioning: Float[Tensor, "batch 6"] | None = None,
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


class Family(Protocol):
    """What a line of `BASES` is: opens files as a base, and says which files it opens."""

    def __call__(
        self, files: ModelFiles, source: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> Base: ...
    @staticmethod
    def matches(files: ModelFiles) -> bool: ...
    @staticmethod
    def compute_digest(files: ModelFiles) -> str: ...


BASES: dict[str, Family] = {
    "stable-diffusion": StableDiffusion,
    "stable-diffusion-xl": StableDiffusionXL,
    "stable-diffusion-3": StableDiffusion3,
}
"""Families of base models; the first that recognises the files opens them."""


def open_base(
    source: str | Path = "pocket",
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    *,
    tokenizer: str | Path | None = None,
    prediction_type: Literal["epsilon", "v_prediction", "sample"] | None = None,
) -> Base:
    """Open a base model, frozen and ready to be adapted, trained on and drawn with.

    Args:
        source: ``"pocket"`` for the embedded model, a folder in the diffusers layout, a safetensors file in the
            original layout of Stable Diffusion 1.x, 2.x, XL or 3, or a hub name.
        device: a torch device; ``"auto"`` takes the GPU when there is one.
        dtype: precision of the frozen weights; ``"auto"`` is float32 on a CPU and on a GPU without
            bfloat16, else bfloat16. Files of another precision are converted on opening.
        tokenizer: for a single file alone: where CLIP's vocabulary is, as a tokenizer's folder, a base's folder or a
            hub name. When left out, a folder ``tokenizer`` beside the file, else OpenAI's from the hub or its cache.
        prediction_type: for a single file that does not tell: what its denoiser predicts. SD 2.x must be told; others
            predict `epsilon` unless they say `v_prediction` themselves.

    Returns:
        The base of the family that recognises it.

    Raises:
        InputError: nothing is there, parts are missing, weights are pickled or incomplete, no family fits, or an
            argument for single files is given with a folder.
    """
    files, family = _resolve_family(source, tokenizer, prediction_type)
    return family(files, source=str(source), device=device, dtype=dtype)


def digest(source: str | Path = "pocket") -> str:
    """SHA-256 over the files of a base, as `Base.digest` gives it, without opening the model.

    Args:
        source: as for `open_base`.

    Raises:
        InputError: nothing is there, parts are missing, or no family fits.
    """
    files, family = _resolve_family(source)
    return family.compute_digest(files)


def load_scheduler_config(source: str | Path = "pocket") -> Mapping[str, Any]:
    """The noise schedule of a base as its files state it, without opening the model.

    Args:
        source: as for `open_base`.

    Raises:
        InputError: nothing is there, or no family fits.
    """
    files, _ = _resolve_family(source)
    return files.scheduler_config()


def load_tokenizer(source: str | Path = "pocket") -> Any:
    """The (first) tokenizer of a base, without opening the model.

    Args:
        source: as for `open_base`.

    Raises:
        InputError: nothing is there, no family fits, or there is no vocabulary.
    """
    from transformers import CLIPTokenizer

    files, _ = _resolve_family(source)
    return files.load_tokenizer("tokenizer", CLIPTokenizer)


def _resolve_family(
    source: str | Path, tokenizer: str | Path | None = None, prediction_type: str | None = None
) -> tuple[ModelFiles, Family]:
    """The files of a base and the family that recognises them."""
    path = find_base(source)
    if path.is_dir():
        for name, value in {"tokenizer": tokenizer, "prediction_type": prediction_type}.items():
            if value is not None:
                raise InputError(f"Argument `{name}` is for single files; the folder `{path}` has its own.")
    files: ModelFiles = (
        DiffusersFolder(path)
        if path.is_dir()
        else SingleFile(path, tokenizer=tokenizer, prediction_type=prediction_type)
    )
    for family in BASES.values():
        if family.matches(files):
            return files, family
    kind = files.model_index().get("_class_name")
    raise InputError(f"Base `{source}` is a {kind}, which no family opens; known: {', '.join(BASES)}.")
