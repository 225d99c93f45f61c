"""A checkpoint with adapters in its weights: the files of the base, with the changed tensors in place of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lycoris.adapters.loading import load
from lycoris.adapters.network import Network
from lycoris.bases.base import Base
from lycoris.bases.families.family import Family
from lycoris.bases.family_matching import resolve_family
from lycoris.bases.files.changed_files import ChangedFiles, Changes
from lycoris.bases.files.diffusers_folder import read_json
from lycoris.bases.files.file_kinds import is_weights_file
from lycoris.bases.files.model_files import DiffusersFolder, ModelFiles
from lycoris.bases.files.model_loading import import_class
from lycoris.bases.files.original_file import widest_dtype, write_original_file
from lycoris.bases.files.single_file import SingleFile
from lycoris.bases.files.transformer_file import TransformerFile
from lycoris.cache.atomic import atomic_dir
from lycoris.errors import InputError, unknown_name_error

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class ScaledAdapter:
    """An adapter file and the factor of its update.

    Attributes:
        path: a safetensors file or a PEFT folder.
        scale: 1 as trained.
    """

    path: str | PathLike[str]
    scale: float = 1.0


@dataclass
class BakedModel:
    """What `bake` wrote.

    Attributes:
        path: the folder or file.
        layers: how many layers changed, by the path of the adapter.
        norm: Frobenius norm of the change of all weights.
    """

    path: Path
    layers: dict[str, int] = field(default_factory=dict)
    norm: float = 0.0


def bake(
    source: str | Path,
    adapters: Sequence[ScaledAdapter],
    target: str | Path,
    *,
    dtype: str | None = None,
    tokenizer: str | Path | None = None,
    prediction_type: str | None = None,
    components: str | Path | None = None,
) -> BakedModel:
    """Write a base with adapters in its weights, under the names and in the layout of the base.

    W + Σ scale · ΔW, with every ΔW of the base's own weights. A target that ends in `.safetensors` is a single file,
    another one a diffusers folder. What no adapter changes keeps its bits. A folder of SD 1.x, 2.x, XL or 3 becomes a
    single file in the original layout, without tokenizers and schedule.

    Args:
        source: as for `open_base`.
        adapters: at least one, each for layers that the base has.
        target: the file to write, or an absent or empty folder.
        dtype: of all weights, ``"float32"``, ``"bfloat16"`` or ``"float16"``; by default each keeps its own. 8-bit
            weights need one.
        tokenizer, prediction_type: of a single file, as for `open_base`; only for a folder.
        components: the other parts of a single file with a transformer, as for `open_base`. A single file that is
            written has what the base's file has.

    Returns:
        The path, how many layers each adapter changed, and the norm of the change.

    Raises:
        InputError: as for `open_base` and `load`; no adapter, a scale that is not finite, values that overflow, or a
            folder that a single file cannot stand for.
    """
    target = Path(target)
    if not adapters:
        raise InputError("Argument `adapters` must have at least one file.")
    if dtype is not None and dtype not in PRECISIONS:
        raise unknown_name_error("dtype", dtype, PRECISIONS)
    for adapter in adapters:
        if isinstance(adapter.scale, bool) or not math.isfinite(adapter.scale):
            raise InputError(f"The scale of `{adapter.path}` must be a finite number, but got {adapter.scale!r}.")
    files, family = resolve_family(source, tokenizer, prediction_type, components=components)
    as_file = is_weights_file(target)
    _check_target(files, family, target, as_file=as_file)
    classes = family.part_classes(files)
    parts: dict[str, nn.Module] = {
        part: files.load_module(part, import_class(classes[part]), torch.float32)
        for part in (family.denoiser, *family.text_encoders)
    }
    networks = [load(adapter.path, parts) for adapter in adapters]
    for network, adapter in zip(networks, adapters, strict=True):
        network.eval().scale = adapter.scale
    changes = _collect_changes(networks)
    result = BakedModel(
        target, {str(each.path): len(network) for each, network in zip(adapters, networks, strict=True)}
    )
    precision = None if dtype is None else PRECISIONS[dtype]
    writer = ChangedFiles(changes, precision, _origin(adapters), [])
    if isinstance(files, (SingleFile, TransformerFile)) and as_file:
        writer.write_single_file(files, parts, target)
    elif isinstance(files, (SingleFile, TransformerFile)):
        _write_pipeline(files, family, networks, changes, writer, target)
    elif as_file:
        assert isinstance(files, DiffusersFolder)
        for network in networks:
            network.detach()
        others = {part: each for part, each in classes.items() if part not in parts and "tokenizer" not in part}
        parts |= {
            part: files.load_module(part, import_class(each), widest_dtype(files.path / part))
            for part, each in others.items()
        }
        write_original_file(writer, files, family.layouts, parts, target)
    else:
        assert isinstance(files, DiffusersFolder)
        writer.write_folder(files, classes, target)
    result.norm = math.sqrt(math.fsum(writer.squares))
    return result


def _check_target(files: ModelFiles, family: Family, target: Path, *, as_file: bool) -> None:
    if as_file and isinstance(files, DiffusersFolder) and not family.layouts:
        raise InputError(
            f"Base `{files.path}` is of the family `{family.name}`, which is not written as a single file: that works "
            f"for SD 1.x, 2.x, XL and 3. Give a folder, a name without `.safetensors`, instead of `{target}`."
        )
    if not as_file and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"The target `{target}` must be absent, an empty folder or end in `.safetensors`.")
    if as_file and target.is_dir():
        raise InputError(f"The target `{target}` is a folder.")
    if target.resolve() == files.path.resolve():
        raise InputError(f"The target `{target}` must not be the base itself.")


def _collect_changes(networks: Sequence[Network]) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """Return the changes of each part's parameters. Several adapters of a layer are summed."""
    summands: dict[str, dict[str, list[Callable[[], Tensor]]]] = {}
    for network in networks:
        for key, adapter in network.adapters.items():
            layer = network.layers[key]
            part = summands.setdefault(layer.part, {})

            def weight_change(adapter: Any = adapter, layer: Any = layer) -> Tensor:
                return adapter.structure(layer.weight, adapter.multiplier).dense().double()

            part.setdefault(f"{layer.path}.weight", []).append(weight_change)
            if adapter.bias_delta() is not None:

                def bias_change(adapter: Any = adapter) -> Tensor:
                    return adapter.bias_delta().double() * adapter.multiplier

                part.setdefault(f"{layer.path}.bias", []).append(bias_change)
    return {part: {name: _sum_of(each) for name, each in named.items()} for part, named in summands.items()}


def _sum_of(changes: Sequence[Callable[[], Tensor]]) -> Callable[[], Tensor]:
    """Return a function that computes changes and adds them."""
    return lambda: torch.stack([change() for change in changes]).sum(0)


def _origin(adapters: Sequence[ScaledAdapter]) -> dict[str, str]:
    """Return the header's entries about the adapters; names of files only, since paths are of no use elsewhere."""
    names = [Path(adapter.path).name for adapter in adapters]
    scales = {"adapters": names, "scales": [float(adapter.scale) for adapter in adapters]}
    return {"lycoris.baked": json.dumps(scales, sort_keys=True), "modelspec.merged_from": ", ".join(names)}


def _write_pipeline(
    files: SingleFile | TransformerFile,
    family: Family,
    networks: Sequence[Network],
    changes: Mapping[str, Changes],
    writer: ChangedFiles,
    target: Path,
) -> None:
    """Write a single file's model as a diffusers folder."""
    base = Base(family, files, device="cpu", dtype="float32")
    for network in networks:
        network.detach()
    with torch.no_grad():
        for part, named in changes.items():
            parameters = dict(base.parts[part].named_parameters())
            for name, change in named.items():
                delta = change().reshape(parameters[name].shape)
                parameters[name].copy_(parameters[name].double() + delta)
                writer.squares.append(delta.square().sum().item())
    precision = writer.precision
    if precision is None:
        dtypes = set(files.stored_weights.dtypes.values()) & set(PRECISIONS.values())
        precision = max(dtypes, key=lambda dtype: dtype.itemsize, default=torch.float32)
    with atomic_dir(target) as folder:
        base.pipeline().to(dtype=precision).save_pretrained(folder)
        read_json(folder / "model_index.json")
