"""Image encoders and text-image encoders: the family is told by ``config.json``, the contract is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lycoris.encoders.batch_encoding import encode_batches
from lycoris.encoders.model_sources import model_digest, resolve_source
from lycoris.encoders.preprocessing import read_preprocessing
from lycoris.encoders.pretrained import load_encoder, read_model_type
from lycoris.errors import InputError


@runtime_checkable
class Encoder(Protocol):
    """Pictures, and for some encoders texts, to feature vectors."""

    @property
    def name(self) -> str:
        """What stands for the encoder in the name of a score; holds no slash."""

    @property
    def digest(self) -> str:
        """The sha256 over weights and configuration."""

    @property
    def reads_text(self) -> bool:
        """Whether texts can be encoded into the same space as images."""

    def image_features(
        self, images: Sequence[Image.Image], mode: str = "resize", batch_size: int = 32
    ) -> Float[Tensor, "images dim"]:
        """Features of pictures, float32 and not normalised, in the order given."""

    def text_features(self, texts: Sequence[str], batch_size: int = 128) -> Float[Tensor, "texts dim"]:
        """Features of texts, float32 and not normalised, in the order given."""


@dataclass(frozen=True)
class EncoderFamily:
    """How the models of one ``model_type`` are read.

    Attributes:
        reads_text: whether the model has a text tower in the same space.
        step: the multiple that the sides of a rectangle must have, from the configuration; ``None`` for a
            network that takes squares only.
    """

    reads_text: bool = False
    size_multiple: Callable[[Any], int] | None = None


def _patch_size(config: Any) -> int:
    return config.patch_size


def _total_stride(config: Any) -> int:
    stem = getattr(config, "patch_size", None) or 4
    return stem * 2 ** (len(config.hidden_sizes) - 1)


ENCODER_FAMILIES: dict[str, EncoderFamily] = {
    "clip": EncoderFamily(reads_text=True),
    "siglip": EncoderFamily(reads_text=True),
    "dinov2": EncoderFamily(size_multiple=_patch_size),
    "dinov2_with_registers": EncoderFamily(size_multiple=_patch_size),
    "dinov3_vit": EncoderFamily(size_multiple=_patch_size),
    "dinov3_convnext": EncoderFamily(size_multiple=_total_stride),
    "convnext": EncoderFamily(size_multiple=_total_stride),
    "convnextv2": EncoderFamily(size_multiple=_total_stride),
}
"""``model_type`` of a configuration -> how such a model is read. A new family is one line."""


class TransformersEncoder:
    """An encoder in the layout of the transformers library, in float32.

    Image features are the pooled ones: the projected embedding of a text-image model, the normalised class
    token of a DINO, the normalised mean of a ConvNeXt.

    Args:
        name: what stands for the encoder in the name of a score.
        folder: ``config.json``, weights and ``preprocessor_config.json``; a tokenizer, where texts are read. Or the
            files of open_clip, see `lycoris.encoders.open_clip`.
        device: where it runs.

    Raises:
        InputError: a file is missing, the family is unknown, or weights of the network are not in the file.
    """

    def __init__(self, name: str, folder: Path, device: str | torch.device = "cpu") -> None:
        family = ENCODER_FAMILIES[read_model_type(folder, ENCODER_FAMILIES)]
        self.name = name
        self.folder = folder
        self.device = torch.device(device)
        self.reads_text = family.reads_text
        self.model = load_encoder(folder).to(self.device)
        config = self.model.config
        self.preprocessing = read_preprocessing(
            folder,
            keep_aspect_ratio=family.size_multiple is not None,
            size_multiple=family.size_multiple(config) if family.size_multiple else 1,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {str(self.folder)!r}, device={str(self.device)!r})"

    @cached_property
    def digest(self) -> str:
        """The sha256 over weights, configuration and vocabulary."""
        return model_digest(self.folder)

    def image_features(
        self, images: Sequence[Image.Image], mode: str = "resize", batch_size: int = 32
    ) -> Float[Tensor, "images dim"]:
        """Features of pictures, float32 and not normalised, in the order given.

        Args:
            images: pictures of any size; read by index, batch by batch.
            mode: ``resize``, ``crop`` or ``padding``.
            batch_size: pictures at a time; changes nothing but speed and memory.

        Raises:
            InputError: there are no pictures, the mode is unknown, or a feature is not finite.
        """
        return encode_batches(
            self._forward, images, self.preprocessing, mode=mode, batch_size=batch_size, device=self.device
        )

    @torch.inference_mode()
    def text_features(self, texts: Sequence[str], batch_size: int = 128) -> Float[Tensor, "texts dim"]:
        """Features of texts, float32 and not normalised, in the order given.

        Equal texts are encoded once. A text longer than the model's window is cut at it, as in the model's
        training.

        Raises:
            InputError: the encoder reads no text, or there are no texts.
        """
        if not self.reads_text:
            raise InputError(f"Encoder `{self.name}` reads no text; use a text-image encoder such as `clip`.")
        if not texts:
            raise InputError("Argument `texts` must hold at least one text, but got none.")
        unique = list(dict.fromkeys(texts))
        rows: list[Tensor] = []
        for start in range(0, len(unique), batch_size):
            tokens = self._tokenizer(
                unique[start : start + batch_size],
                padding="max_length",
                truncation=True,
                max_length=self.model.config.text_config.max_position_embeddings,
                return_tensors="pt",
            ).to(self.device)
            names = [name for name in ("input_ids", "attention_mask") if name in tokens]
            rows.append(_pooled_features(self.model.get_text_features(**{name: tokens[name] for name in names})))
        features = torch.cat(rows).float().cpu()
        return features[[unique.index(text) for text in texts]]

    def _forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        if self.reads_text:
            return _pooled_features(self.model.get_image_features(pixel_values=pixels))
        return _pooled_features(self.model(pixel_values=pixels))

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"Encoder folder `{self.folder}` must hold a tokenizer: {error}") from error
        end = getattr(self.model.config.text_config, "eos_token_id", None)
        if self.model.config.model_type == "clip" and end != 2 and end != tokenizer.eos_token_id:
            raise InputError(
                f"Encoder `{self.name}` pools its text at token {end} (`text_config.eos_token_id`), but its "
                f"tokenizer ends a text with token {tokenizer.eos_token_id}."
            )
        return tokenizer


def open_encoder(source: str | Path, device: str | torch.device = "cpu") -> Encoder:
    """An encoder by short name, folder or hub name.

    Args:
        source: ``clip``, ``dinov2`` or ``convnextv2`` for the embedded ones; a folder in the transformers
            layout or in open_clip's; or a hub name such as ``facebook/dinov2-large``.
        device: where it runs; ``auto`` takes a GPU where there is one.

    Raises:
        InputError: there is no such encoder, its family is unknown, or its files are incomplete.
    """
    name, folder = resolve_source(source)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return TransformersEncoder(name, folder, device)


def _pooled_features(output: Any) -> Float[Tensor, "batch dim"]:
    return output if isinstance(output, Tensor) else output.pooler_output
