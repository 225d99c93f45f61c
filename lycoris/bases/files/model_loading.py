"""The parts of a base model: loading, freezing, device and precision."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lycoris.bases.files.diffusers_folder import weights_variant
from lycoris.bases.files.file_kinds import WEIGHTS_SUFFIX
from lycoris.bases.files.stored_weights import is_finite, non_finite_error
from lycoris.bases.group_norm_workaround import guard_group_norms
from lycoris.errors import InputError, unknown_name_error
from lycoris.pretrained import silence_transformers

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_part(part: Path, model_class: Any, dtype: torch.dtype) -> nn.Module:
    """Load one module from its folder.

    Args:
        part: folder with ``config.json`` and safetensors files.
        model_class: a model class of diffusers or transformers.
        dtype: to convert the weights to.

    Raises:
        InputError: the folder cannot be opened, weights that the configuration requires are missing, or one of them is
            not finite.
    """
    from safetensors import SafetensorError

    precision = "dtype" if model_class.__module__.startswith("transformers") else "torch_dtype"
    try:
        with silence_transformers():
            module, loaded = model_class.from_pretrained(
                part,
                variant=weights_variant(part),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **{precision: dtype},
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"Part `{part}` of the base could not be opened: {error}") from error
    missing = sorted(str(name) for name in loaded["missing_keys"])
    if missing:
        raise InputError(
            f"The weights of `{part}` lack {len(missing)} of the tensors that its config.json requires, "
            f"among them {', '.join(missing[:3])}."
        )
    for name, weight in module.state_dict().items():
        if not is_finite(weight):
            raise non_finite_error(name, weight, _file_of_weight(part, name))
    return module


def _file_of_weight(part: Path, name: str) -> Path:
    """The file of a part that holds a weight, or the part's folder if the file uses another name for it."""
    from safetensors import safe_open

    for file in sorted(part.glob(f"*{WEIGHTS_SUFFIX}")):
        with safe_open(file, framework="pt") as opened:
            if name in opened.keys():  # noqa: SIM118 - not a mapping
                return file
    return part


def import_class(path: str) -> Any:
    """Import a class by ``library.Class``."""
    library, _, name = path.rpartition(".")
    return getattr(importlib.import_module(library), name)


def freeze(modules: Mapping[str, Any], device: torch.device) -> None:
    """Freeze modules, in evaluation mode, on a device, and those with convolutions in channels-last order."""
    for part, module in modules.items():
        module.requires_grad_(False).eval().to(device)
        is_of_videos = any(parameter.dim() == 5 for parameter in module.parameters())
        if part in ("unet", "vae") and not is_of_videos:
            module.to(memory_format=torch.channels_last)
            guard_group_norms(module)


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Compute in mixed precision below float32, so that adapters can keep float32 weights."""
    if dtype is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Resolve a precision's name; ``"auto"`` is bfloat16 on a GPU that supports it, else float32."""
    if name == "auto":
        half = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if half else torch.float32
    if name not in DTYPES:
        raise unknown_name_error("dtype", name, ["auto", *DTYPES])
    return DTYPES[name]
