"""Base models behind one interface: text to conditioning, images to latents, noisy latents to predictions.

A family is one file in `lycoris.bases.families` and one line in `BASES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from lycoris.bases.base import Base
from lycoris.bases.base_digest import compute_digest
from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.families import BASES
from lycoris.bases.families.family import Family
from lycoris.bases.family_matching import resolve_family
from lycoris.bases.files.model_files import ModelFiles
from lycoris.bases.files.model_loading import import_class
from lycoris.bases.files.unused_tensors import log_unused_tensors
from lycoris.bases.flow_matching import FlowMatching
from lycoris.bases.noise import DiscreteDiffusion, ForwardProcess
from lycoris.bases.quantization import Precisions
from lycoris.bases.resolution import set_resolution
from lycoris.bases.text_encoding import build_window_tokenizer
from lycoris.bases.tokenization import TruncatedPromptWarning

__all__ = [
    "BASES",
    "Base",
    "DiscreteDiffusion",
    "Family",
    "FlowMatching",
    "ForwardProcess",
    "ModelFiles",
    "TextConditioning",
    "TruncatedPromptWarning",
    "digest",
    "load_forward_process",
    "load_scheduler_config",
    "load_tokenizer",
    "log_unused",
    "open_base",
]


def open_base(
    source: str | Path = "pocket",
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    *,
    tokenizer: str | Path | None = None,
    components: str | Path | None = None,
    prediction_type: Literal["epsilon", "v_prediction", "sample"] | None = None,
    vae: str | Path | None = None,
    resolution: int | None = None,
    max_token_length: int | None = None,
    precision: str | Mapping[str, str | None] | None = None,
    offload: bool = False,
) -> Base:
    """Open a base model, frozen and ready to adapt, to train on and to generate with.

    Args:
        source: ``"pocket"`` for the embedded model, a folder in the diffusers layout, a hub name, or a safetensors file
            in the original layout of Stable Diffusion 1.x, 2.x, XL or 3, or with the transformer of another family.
        device: a torch device; ``"auto"`` is the GPU if there is one.
        dtype: precision of the frozen weights; ``"auto"`` is float32 on a CPU and on a GPU without
            bfloat16, else bfloat16. Files of another precision are converted when opened.
        tokenizer: only for a single file: a tokenizer's folder, a base's folder or a hub name with CLIP's vocabulary.
            Defaults to a folder ``tokenizer`` beside the file, else to OpenAI's from the hub or its cache.
        components: only for a single file with a transformer: a folder or hub name of a model of the same family, whose
            other parts are used with it, and the configuration of its transformer.
        prediction_type: only for a single file that does not state what its denoiser predicts. Required for such a
            file of SD 2.x; the default for other families is `epsilon`.
        vae: another VAE instead of the base's: a folder with its configuration, a base's folder, or a safetensors file
            in the original layout. A single file need not have a VAE of its own then.
        resolution: side in pixels of the square images that the base was trained on, instead of what its files state.
        max_token_length: tokens of a prompt that the CLIP text encoders read, such as 150 or 225: windows of 75 tokens,
            each with a start and an end of its own. None reads one window.
        precision: of the weights of denoiser and text encoders: ``"nf4"``, ``"int8"`` or ``"fp8"`` for their Linear
            layers, ``"bf16"``, ``"fp16"`` or ``"fp32"`` for all of them; or a mapping with the keys ``denoiser`` and
            ``text_encoders``. None is `dtype`, in which quantised layers compute too.
        offload: have text encoders, denoiser and VAE on the device only while they work, and in the CPU's memory
            otherwise. It changes no result.

    Returns:
        The base, opened by the family that matches its files.

    Raises:
        InputError: nothing is there, parts are missing, weights are pickled or incomplete, no family matches, an
            argument for single files comes with a folder, `max_token_length` is no multiple of a window, `precision` is
            unknown, or its package is not installed.
    """
    precisions = Precisions.of(precision)
    files, family = resolve_family(source, tokenizer, prediction_type, vae, components)
    log_unused_tensors(files, family)
    return Base(family, files, str(source), device, dtype, resolution, max_token_length, precisions, offload=offload)


def digest(
    source: str | Path = "pocket",
    *,
    tokenizer: str | Path | None = None,
    components: str | Path | None = None,
    prediction_type: str | None = None,
    vae: str | Path | None = None,
    resolution: int | None = None,
    max_token_length: int | None = None,
    precision: str | Mapping[str, str | None] | None = None,
) -> str:
    """Compute the SHA-256 over a base's files, as `Base.digest` has it, without opening the model.

    Args:
        source, tokenizer, components, prediction_type, vae, resolution, max_token_length, precision: as for
            `open_base`.

    Raises:
        InputError: nothing is there, parts are missing, no family matches, `resolution` or `max_token_length` does
            not fit, `precision` is unknown, or its package is not installed.
    """
    precisions = Precisions.of(precision)
    files, family = resolve_family(source, tokenizer, prediction_type, vae, components)
    _check_options(files, family, resolution, max_token_length)
    return compute_digest(family, files, resolution, max_token_length, precisions)


def _check_options(files: ModelFiles, family: Family, resolution: int | None, max_token_length: int | None) -> None:
    """Check the options that `Base` checks when it is opened, on modules without values."""

    def build(part: str) -> Any:
        return files.empty_module(part, import_class(family.part_classes(files)[part]))

    if max_token_length is not None:
        tokenizer = files.load_tokenizer("tokenizer", import_class(family.part_classes(files)["tokenizer"]))
        build_window_tokenizer(tokenizer, build("text_encoder"), max_token_length)
    if resolution is not None:
        set_resolution(family, build(family.denoiser), family.codec(build("vae")).scale_factor, resolution)


def log_unused(
    source: str | Path = "pocket",
    *,
    tokenizer: str | Path | None = None,
    components: str | Path | None = None,
    prediction_type: str | None = None,
    vae: str | Path | None = None,
) -> None:
    """Log the tensors of a base's file that no part is loaded from, as `open_base` does, without opening the model.

    Args:
        source, tokenizer, components, prediction_type, vae: as for `open_base`.

    Raises:
        InputError: nothing is there, no family matches, or the weights have shapes of no known parts.
    """
    log_unused_tensors(*resolve_family(source, tokenizer, prediction_type, vae, components))


def load_scheduler_config(
    source: str | Path = "pocket",
    *,
    tokenizer: str | Path | None = None,
    components: str | Path | None = None,
    prediction_type: str | None = None,
) -> Mapping[str, Any]:
    """Read a base's noise schedule as its files state it, without opening the model.

    Args:
        source, tokenizer, components, prediction_type: as for `open_base`.

    Raises:
        InputError: nothing is there, or no family matches.
    """
    files, _ = resolve_family(source, tokenizer, prediction_type, components=components)
    return files.scheduler_config()


def load_forward_process(
    source: str | Path = "pocket",
    *,
    tokenizer: str | Path | None = None,
    components: str | Path | None = None,
    prediction_type: str | None = None,
) -> ForwardProcess:
    """Read how a base noises latents and what it predicts, on the CPU, without opening the model.

    Args:
        source, tokenizer, components, prediction_type: as for `open_base`.

    Raises:
        InputError: nothing is there, no family matches, or the schedule is not one of its family.
    """
    files, family = resolve_family(source, tokenizer, prediction_type, components=components)
    return family.forward_process.from_config(files.scheduler_config(), torch.device("cpu"))


def load_tokenizer(
    source: str | Path = "pocket",
    *,
    tokenizer: str | Path | None = None,
    components: str | Path | None = None,
    prediction_type: str | None = None,
) -> Any:
    """Load the (first) tokenizer of a base, without opening the model.

    Args:
        source, tokenizer, components, prediction_type: as for `open_base`.

    Raises:
        InputError: nothing is there, no family matches, or there is no vocabulary.
    """
    files, family = resolve_family(source, tokenizer, prediction_type, components=components)
    return files.load_tokenizer("tokenizer", import_class(family.part_classes(files)["tokenizer"]))
