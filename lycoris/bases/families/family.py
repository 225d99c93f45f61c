"""What a family of base models defines, and the opened parts it works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lycoris.bases.shapes import ImageSizes, Latents, Timesteps
from lycoris.bases.text_encoding import TextEncoder, is_clip, max_prompt_length
from lycoris.bases.tokenization import split_into_windows

if TYPE_CHECKING:
    from lycoris.bases.conditioning import TextConditioning
    from lycoris.bases.files.checkpoint_layouts import CheckpointLayout
    from lycoris.bases.files.model_files import ModelFiles
    from lycoris.bases.noise import ForwardProcess


@dataclass(frozen=True, eq=False)
class Components:
    """The opened parts of a base model.

    Attributes:
        source: name of the base, for messages.
        modules: frozen modules, by their names in a diffusers pipeline.
        tokenizers: likewise.
        vae_scale_factor: pixels per latent cell along each side.
        model_index: the pipeline's ``model_index.json``; empty where there is none.
        max_token_length: tokens of a prompt that CLIP text encoders read, in windows; None for one window.
    """

    source: str
    modules: Mapping[str, Any]
    tokenizers: Mapping[str, Any]
    vae_scale_factor: int
    model_index: Mapping[str, Any]
    max_token_length: int | None = None

    def text_encoder(self, suffix: str = "", max_length: int | None = None) -> TextEncoder:
        """Pair ``text_encoder<suffix>`` with its tokenizer.

        Args:
            suffix: ``""``, ``"_2"`` or ``"_3"``.
            max_length: tokens to read at once, start and end included; defaults to what tokenizer and encoder both
                allow.

        Raises:
            InputError: `max_token_length` is no multiple of what a CLIP text encoder reads at once.
        """
        module, tokenizer = self.modules[f"text_encoder{suffix}"], self.tokenizers[f"tokenizer{suffix}"]
        length = max_length or max_prompt_length(tokenizer, module)
        max_windows = split_into_windows(self.max_token_length, length) if is_clip(module) else 1
        return TextEncoder(module, tokenizer, length, max_windows)


@runtime_checkable
class Family(Protocol):
    """A family of base models: its parts, how it encodes text, and how it calls its denoiser.

    `lycoris.bases.Base` does the rest: it opens the parts, runs the autoencoder and sets device and precision, so
    `encode_text` and `predict` are called under autocast, with inputs already in the base's precision.

    Attributes:
        name: its key in `lycoris.bases.BASES`.
        models: the published models that it opens, for the documents.
        denoiser: name of the denoiser part: ``"unet"`` or ``"transformer"``.
        text_encoders: names of the text encoders that can be adapted.
        forward_process: how latents are noised.
        upcasts_vae: whether the VAE overflows in float16 and stays in float32 where its configuration says so.
        pipeline_class: class of the diffusers pipeline.
        default_scheduler: class of its scheduler where the configuration names none.
        layouts: the original layouts of its single files by name; empty if only folders are opened.
        pipeline_options: further arguments of `pipeline_class`.
    """

    name: str
    models: str
    denoiser: str
    text_encoders: tuple[str, ...]
    forward_process: type[ForwardProcess]
    upcasts_vae: bool
    pipeline_class: str
    default_scheduler: str
    layouts: Mapping[str, CheckpointLayout]
    pipeline_options: Mapping[str, Any]

    def __init__(self, components: Components) -> None: ...

    @staticmethod
    def matches(files: ModelFiles) -> bool:
        """Whether files are of this family, even if some are missing."""

    @staticmethod
    def part_classes(files: ModelFiles) -> Mapping[str, str]:
        """Each part's class as ``library.Class``: denoiser, VAE, text encoders and tokenizers."""

    @staticmethod
    def digest_options(files: ModelFiles) -> str:
        """Options of the model index that change its output, for the digest; ``""`` if there are none."""

    def encode_text(self, prompts: Sequence[str]) -> TextConditioning:
        """See `lycoris.bases.Base.encode_text`."""

    def predict(
        self, noisy: Latents, timesteps: Timesteps, conditioning: TextConditioning, size_conditioning: ImageSizes | None
    ) -> Latents:
        """See `lycoris.bases.Base.predict`."""
