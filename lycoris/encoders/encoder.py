"""Image encoders and text-image encoders with one interface; ``config.json`` states the family."""

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

from lycoris.encoders import open_clip
from lycoris.encoders.batch_encoding import encode_batches
from lycoris.encoders.model_sources import model_digest, resolve_source
from lycoris.encoders.preprocessing import read_preprocessing
from lycoris.errors import InputError
from lycoris.pretrained import check_model_type, load_pretrained, resolve_device


@runtime_checkable
class Encoder(Protocol):
    """A network that turns images, and for some encoders texts, into feature vectors."""

    @property
    def name(self) -> str:
        """Short name in the names of scores; holds no slash."""

    @property
    def digest(self) -> str:
        """SHA-256 of weights and configuration."""

    @property
    def reads_text(self) -> bool:
        """Whether the encoder maps texts into the same space as images."""

    def image_features(
        self, images: Sequence[Image.Image], mode: str = "resize", batch_size: int = 32
    ) -> Float[Tensor, "images dim"]:
        """Encode images, float32 and not normalized, in the given order."""

    def text_features(self, texts: Sequence[str], batch_size: int = 128) -> Float[Tensor, "texts dim"]:
        """Encode texts, float32 and not normalized, in the given order."""


@dataclass(frozen=True)
class EncoderFamily:
    """How the models of one ``model_type`` are used.

    Attributes:
        reads_text: whether the model has a text tower with the same output space.
        size_multiple: configuration -> the number of pixels that divides the sides of a rectangle; None if the network
            takes squares only.
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
"""``model_type`` of a configuration -> family. A new family is one line."""


class TransformersEncoder:
    """An encoder in the transformers layout, in float32.

    Image features are the pooled ones: the projected embedding of a text-image model, the normalized class token of a
    DINO, the normalized mean of a ConvNeXt.

    Args:
        name: short name in the names of scores.
        folder: ``config.json``, weights and ``preprocessor_config.json``, and a tokenizer for texts; or the files of
            open_clip, see `lycoris.encoders.open_clip`.
        device: torch device.

    Raises:
        InputError: a file is missing, the family is not supported, or the weights are incomplete.
    """

    def __init__(self, name: str, folder: Path, device: str | torch.device = "cpu") -> None:
        family = _family_of(folder)
        is_open_clip = _is_open_clip(folder)
        self.name = name
        self.folder = folder
        self.device = torch.device(device)
        self.reads_text = family.reads_text
        self.model = (open_clip.load_clip(folder) if is_open_clip else _load(folder)).to(self.device)
        multiple = family.size_multiple
        self.preprocessing = read_preprocessing(
            folder,
            keep_aspect_ratio=multiple is not None,
            size_multiple=multiple(self.model.config) if multiple else 1,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {str(self.folder)!r}, device={str(self.device)!r})"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights, configuration and vocabulary."""
        return model_digest(self.folder)

    def image_features(
        self, images: Sequence[Image.Image], mode: str = "resize", batch_size: int = 32
    ) -> Float[Tensor, "images dim"]:
        """Encode images, float32 and not normalized, in the given order.

        Args:
            images: images of any size, read by index, batch by batch.
            mode: one of `lycoris.terms.RESIZE_MODES`.
            batch_size: images per batch; affects speed and memory only.

        Raises:
            InputError: there are no images, the mode is unknown, or a feature is not finite.
        """
        return encode_batches(
            self._forward, images, self.preprocessing, mode=mode, batch_size=batch_size, device=self.device
        )

    @torch.inference_mode()
    def text_features(self, texts: Sequence[str], batch_size: int = 128) -> Float[Tensor, "texts dim"]:
        """Encode texts, float32 and not normalized, in the given order.

        Equal texts are encoded once. A text longer than the model's context is truncated, as in the model's training.

        Raises:
            InputError: the encoder does not read text, or there are no texts.
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
                f"Encoder `{self.name}` must pool its text at the tokenizer's end token {tokenizer.eos_token_id}, but "
                f"`text_config.eos_token_id` is {end}."
            )
        return tokenizer


def open_encoder(source: str | Path, device: str | torch.device = "cpu") -> Encoder:
    """Open an encoder by short name, folder or hub name.

    Args:
        source: ``clip``, ``dinov2`` or ``convnextv2`` for the embedded encoders; a folder in the layout of transformers
            or open_clip; or a hub name such as ``facebook/dinov2-large``.
        device: torch device; ``auto`` takes a GPU if there is one.

    Raises:
        InputError: the encoder does not exist, its family is not supported, or its files are incomplete.
    """
    name, folder = resolve_source(source)
    return TransformersEncoder(name, folder, resolve_device(device))


def check_encoder(source: str | Path) -> tuple[str, bool]:
    """Check, without loading its weights, that an encoder exists and is of a supported family.

    Args:
        source: as for `open_encoder`.

    Returns:
        Its short name, and whether it reads text.

    Raises:
        InputError: the encoder does not exist, or its family is not supported.
    """
    name, folder = resolve_source(source)
    return name, _family_of(folder).reads_text


def _family_of(folder: Path) -> EncoderFamily:
    model_type = "clip" if _is_open_clip(folder) else check_model_type(folder, ENCODER_FAMILIES, "encoder")
    return ENCODER_FAMILIES[model_type]


def _is_open_clip(folder: Path) -> bool:
    return not (folder / "config.json").is_file() and open_clip.read_config(folder) is not None


def _load(folder: Path) -> Any:
    from transformers import AutoModel

    return load_pretrained(AutoModel, folder, "encoder")


def _pooled_features(output: Any) -> Float[Tensor, "batch dim"]:
    return output if isinstance(output, Tensor) else output.pooler_output
