"""A diffusers folder written as one file in the original layout of its family."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from lycoris.adapters.files.safetensors_io import DTYPES, FLOAT8, write_streamed
from lycoris.bases.files.changed_files import ChangedFiles, eight_bit_error
from lycoris.bases.files.checkpoint_layouts import CheckpointLayout
from lycoris.bases.files.diffusers_folder import file_variant, weights_variant
from lycoris.bases.files.file_kinds import WEIGHTS_SUFFIX
from lycoris.bases.files.model_files import DiffusersFolder
from lycoris.bases.files.original_tensors import OriginalTensor
from lycoris.errors import InputError

_log = logging.getLogger(__name__)

_UNREAD = frozenset({"sample_size", "upcast_attention", "force_upcast", "latents_mean", "latents_std"})
"""Settings of diffusers' modules that change no image, or that the header or the dtype stands for."""
_UNREAD_OF_TEXT = frozenset({"bos_token_id", "eos_token_id", "projection_dim"})
"""The last one is the projection's shape, where there is one."""
_SCHEDULE = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "shift")
_TIED = {"encoder.embed_tokens.weight": "shared.weight"}


@dataclass(frozen=True)
class _Entry:
    part: str
    tensor: OriginalTensor
    dtype: torch.dtype
    shape: tuple[int, ...]


def write_original_file(
    writer: ChangedFiles,
    files: DiffusersFolder,
    layouts: Mapping[str, CheckpointLayout],
    modules: Mapping[str, nn.Module],
    target: Path,
) -> None:
    """Write a folder's parts, with their changes, as one file.

    Tokenizers and the schedule are not in such a file: readers take those of the family. SD 2.x's text encoder is
    written with its last layer twice, as readers skip the last one.

    Args:
        writer: the changes.
        files: the folder.
        layouts: of its family, by name.
        modules: every part with weights, without adapters.
        target: the file.

    Raises:
        InputError: the family has no layout that is written, or a reader would take the model for another one, since a
            file has no place for a setting or a tensor of it.
    """
    layout = _choose_layout(files, layouts, modules)
    markers, header = _schedule_entries(files, layout, modules)
    entries: dict[str, _Entry] = {}
    for part, module in modules.items():
        stored = _stored_dtypes(files.path / part)
        values = module.state_dict()
        tensors = layout.original_tensors[part](module)
        _check_complete(files.path / part, values, tensors)
        for name, tensor in tensors.items():
            dtypes = [_find_dtype(stored, each, files.path / part, writer.precision) for each in tensor.parameters]
            dtype = dtypes[0]
            for each in dtypes[1:]:
                dtype = torch.promote_types(dtype, each)
            shape = tuple(tensor.join([values[each].to("meta") for each in tensor.parameters]).shape)
            entries[name] = _Entry(part, tensor, dtype, shape)
    if any(name.endswith("clip_l.transformer.text_projection.weight") for name in entries):
        _log.warning(
            "The first text encoder of `%s` has a projection of its own: diffusers' `from_single_file` reads the "
            "identity in its place.",
            files.path,
        )

    def read(name: str) -> Tensor:
        if name in markers:
            return torch.empty(0)
        return _read(writer, modules, entries[name], name)

    sizes = {name: (writer.dtype_of(entry.dtype), entry.shape) for name, entry in entries.items()}
    write_streamed(target, sizes | {name: (torch.float32, (0,)) for name in markers}, read, {**header, **writer.origin})


def _read(writer: ChangedFiles, modules: Mapping[str, nn.Module], entry: _Entry, name: str) -> Tensor:
    values = modules[entry.part].state_dict()
    changes = writer.changes.get(entry.part, {})
    tensor = entry.tensor

    def add(wide: Tensor) -> None:
        summands = [
            changes[each]().reshape(values[each].shape)
            if each in changes
            else torch.zeros(values[each].shape, dtype=torch.float64)
            for each in tensor.parameters
        ]
        wide += tensor.join(summands)

    stored = tensor.join([values[each] for each in tensor.parameters]).to(entry.dtype)
    return writer.change(name, stored, add, any(each in changes for each in tensor.parameters))


def _choose_layout(
    files: DiffusersFolder, layouts: Mapping[str, CheckpointLayout], modules: Mapping[str, nn.Module]
) -> CheckpointLayout:
    """Return the layout from whose file readers infer the model's own settings."""
    differences = {}
    for name, layout in layouts.items():
        if not set(modules) <= set(layout.original_tensors):
            continue
        differences[name] = _differences(layout, modules)
        if not differences[name]:
            return layout
    name, closest = min(differences.items(), key=lambda item: len(item[1]))
    raise InputError(
        f"Base `{files.path}` cannot be written as a single file of `{name}`, since readers would take it for another "
        f"model: {'; '.join(closest[:3])}. Give a folder, a name without `.safetensors`."
    )


def _differences(layout: CheckpointLayout, modules: Mapping[str, nn.Module]) -> list[str]:
    """Return where the settings that readers infer from a file are not those of the modules."""
    found = []
    for part, module in modules.items():
        if part not in layout.parts:
            continue  # T5 is only in files, and has one size
        prefix, values = layout.parts[part].prefix, module.state_dict()
        try:
            shapes = {
                name.removeprefix(prefix): tuple(tensor.join([values[p].to("meta") for p in tensor.parameters]).shape)
                for name, tensor in layout.original_tensors[part](module).items()
            }
            found += _config_differences(part, module, layout.parts[part].config(shapes))
        except (ArithmeticError, LookupError, StopIteration, ValueError, RuntimeError):
            found.append(f"`{part}` has another structure")
    return found


def _config_differences(part: str, module: Any, inferred: dict[str, Any]) -> list[str]:
    own = module.config
    if hasattr(module, "from_config"):
        with torch.device("meta"):
            full = dict(type(module).from_config(inferred).config)
        names = [name for name in full if not name.startswith("_") and name not in _UNREAD]
    else:
        full, names = inferred, [name for name in inferred if name not in _UNREAD_OF_TEXT]
    levels = len(full["block_out_channels"]) if "block_out_channels" in full else 1
    get = own.get if hasattr(own, "get") else lambda name: getattr(own, name, None)
    return [
        f"`{name}` of `{part}` is {get(name)!r}, and {full[name]!r} would be read"
        for name in names
        if _comparable(get(name), levels) != _comparable(full[name], levels)
    ]


def _comparable(value: Any, levels: int) -> Any:
    """Return a setting so that its spellings are equal: one number for all levels, absent or False."""
    if isinstance(value, (list, tuple)):
        return tuple(value)
    if not value:
        return (None,) * levels
    return (value,) * levels


def _schedule_entries(
    files: DiffusersFolder, layout: CheckpointLayout, modules: Mapping[str, nn.Module]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the marks of a file for its schedule and prediction type, and the header's entries.

    Raises:
        InputError: readers would take another schedule.
    """
    config, expected = files.scheduler_config(), layout.scheduler
    for name in _SCHEDULE:
        if name in expected and name in config and config[name] != expected[name]:
            raise InputError(
                f"Base `{files.path}` cannot be written as a single file: `{name}` of its schedule is {config[name]}, "
                f"and readers take {expected[name]}. Give a folder, a name without `.safetensors`."
            )
    header = {"modelspec.sai_model_spec": "1.0.0", "modelspec.architecture": layout.architecture}
    vae: Any = modules["vae"]
    denoiser = next(module for part, module in modules.items() if part in ("unet", "transformer"))
    cell = 2 ** (len(vae.config["block_out_channels"]) - 1)
    size = getattr(denoiser, "config", {}).get("sample_size")
    if isinstance(size, int):
        header["modelspec.resolution"] = f"{size * cell}x{size * cell}"
    if "beta_schedule" not in expected:
        return (), header
    kind = config.get("prediction_type", "epsilon")
    if kind not in ("epsilon", "v_prediction"):
        raise InputError(
            f"Base `{files.path}` predicts `{kind}`, which a single file cannot state. Give a folder, a name without "
            "`.safetensors`."
        )
    header["modelspec.prediction_type"] = "v" if kind == "v_prediction" else "epsilon"
    has_marks = layout.architecture.startswith("stable-diffusion-xl")
    marks = ["v_pred"] if has_marks and kind == "v_prediction" else []
    if config.get("rescale_betas_zero_snr"):
        if not marks:
            raise InputError(
                f"Base `{files.path}` has `rescale_betas_zero_snr`, which only a single file of SDXL with v-prediction "
                "states. Give a folder, a name without `.safetensors`."
            )
        marks.append("ztsnr")
    return tuple(marks), header


def widest_dtype(part: Path) -> torch.dtype:
    """Return the dtype in which every weight of a part's folder can be opened."""
    dtypes = {dtype for dtype in _stored_dtypes(part).values() if dtype.is_floating_point and dtype not in FLOAT8}
    return dtypes.pop() if len(dtypes) == 1 else torch.float32


def _stored_dtypes(part: Path) -> dict[str, torch.dtype]:
    """Return the dtype of each tensor of a part's folder."""
    variant = weights_variant(part)
    found: dict[str, torch.dtype] = {}
    for file in sorted(part.glob(f"*{WEIGHTS_SUFFIX}")):
        if file_variant(file) == variant:
            with safe_open(file, framework="pt") as stored:
                found |= {name: DTYPES[stored.get_slice(name).get_dtype()] for name in stored.keys()}  # noqa: SIM118
    return found


def _find_dtype(
    stored: Mapping[str, torch.dtype], parameter: str, part: Path, precision: torch.dtype | None
) -> torch.dtype:
    """Return the dtype of a parameter in its folder; where older names differ, the widest of the folder."""
    bare = parameter.removeprefix("text_model.")
    name = next(
        (each for each in (parameter, bare, f"text_model.{bare}", _TIED.get(parameter)) if each in stored), None
    )
    dtypes = [stored[name]] if name else [each for each in stored.values() if each.is_floating_point]
    dtype = max(dtypes, key=lambda each: each.itemsize)
    if precision is None and dtype in FLOAT8:
        raise eight_bit_error(part, parameter)
    return dtype


def _check_complete(part: Path, values: Mapping[str, Tensor], tensors: Mapping[str, OriginalTensor]) -> None:
    placed = {name for tensor in tensors.values() for name in tensor.parameters}
    lost = [
        name for name in values if name not in placed and not name.endswith(("position_ids", "text_projection.weight"))
    ]
    if lost:
        raise InputError(
            f"Part `{part}` has {len(lost)} tensors that a single file has no place for, such as `{lost[0]}`. Give a "
            "folder, a name without `.safetensors`."
        )
