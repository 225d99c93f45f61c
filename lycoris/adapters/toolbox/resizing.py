"""An adapter file of a smaller rank, under the names that the file has."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import NamedTuple

import torch
from torch import Tensor

from lycoris.adapters.algorithms import ALGORITHMS
from lycoris.adapters.algorithms.dora import DoRA
from lycoris.adapters.conversion import convert, convert_to_lora, describe_origin, kept_metadata, widest_dtype
from lycoris.adapters.files.checkpoint_reader import AdapterFile, read_adapter_file
from lycoris.adapters.files.formats import PRECISIONS, cast_tensor, check_suffix
from lycoris.adapters.files.keys import split_key
from lycoris.adapters.files.layer_lookup import Target, find_targets
from lycoris.adapters.files.layer_names import find_layers, named_parts
from lycoris.adapters.files.peft.reader import KEY_PREFIX
from lycoris.adapters.files.safetensors_io import read_tensors, write_tensors
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.adapters.low_rank_approximation import ApproximationReport, LayerFit, check_rank_or_energy
from lycoris.adapters.toolbox.file_layers import FileLayer, read_file_layers
from lycoris.errors import InputError, unknown_name_error

_UP, _DOWN, _ALPHA = "lora_up.weight", "lora_down.weight", "alpha"
_FACTORS = {_UP: (_UP, "lora_B"), _DOWN: (_DOWN, "lora_A"), _ALPHA: (_ALPHA,)}
"""Tensor of a LoRA → names that dialects have for it."""


class _Resized(NamedTuple):
    """A layer's new tensors by their names in a LoRA; empty where those of the file stay. And their fit."""

    tensors: Mapping[str, Tensor]
    fit: LayerFit


def resize(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    rank: int | None = None,
    energy: float | None = None,
    model: object | None = None,
    dtype: str | None = None,
) -> ApproximationReport:
    """Rewrite a file with every layer as a LoRA of a smaller rank, the nearest by singular values.

    Names, fused layers, norm layers, biases, embeddings and the header's facts about the training stay. LoRAs that
    already are small enough stay as they are.

    Args:
        source: a safetensors file of any dialect and algorithm, or a PEFT folder.
        target: the file to write; for a PEFT folder, a folder.
        rank: at most this many for each layer.
        energy: for each layer, the smallest rank that keeps this share, in (0, 1], of the squared singular values.
            The relative error is then at most √(1 − energy).
        model: what the file was made for: for DoRA, (IA)³, GLoRA, diag-OFT and BOFT, whose ΔW depends on the weights,
            and where shapes do not tell a convolution's kernel.
        dtype: of the factors, as for `save`; by default the widest in the file.

    Returns:
        Rank and relative error of every layer, as written.

    Raises:
        InputError: as for `load`; neither or both of rank and energy; a model is needed.
    """
    check_rank_or_energy(rank, energy)
    if rank is None and energy is None:
        raise InputError("Give either `rank` or `energy`.")
    check_suffix(target)
    file = read_adapter_file(source)
    dtype = widest_dtype(file) if dtype is None else dtype
    if dtype not in PRECISIONS:
        raise unknown_name_error("dtype", dtype, PRECISIONS)
    if any(name.startswith(KEY_PREFIX) or "/" in next(iter(file.sources[name])) for name in file.layers):
        return convert(source, target, format="peft", model=model, rank=rank, energy=energy, dtype=dtype)
    targets: Mapping[str, Sequence[Target]] = {}
    if model is not None:
        targets = find_targets(file, find_layers(named_parts(model), MATRIX_LAYERS + NORM_LAYERS))
    written = read_tensors(source)[1]
    fits = []
    for layer in read_file_layers(file).layers:
        if layer.is_norm:
            continue
        resized = _resize_layer(file, layer, targets.get(layer.name, ()), (rank, energy), PRECISIONS[dtype])
        fits.append(resized.fit)
        if resized.tensors:
            _replace_tensors(written, file, layer, resized.tensors, dtype)
    report = ApproximationReport(tuple(fits))
    write_tensors(target, written, _metadata(file, report))
    _check_written(target, file)
    return report


def _resize_layer(
    file: AdapterFile,
    layer: FileLayer,
    targets: Sequence[Target],
    limits: tuple[int | None, float | None],
    dtype: torch.dtype,
) -> _Resized:
    """Return the tensors of a layer's LoRA, none where it is a LoRA that is small enough already, and the fit."""
    whole = len(targets) == 1 and targets[0].rows is None
    if whole:
        layer = FileLayer(layer.name, layer.place, targets[0].layer, layer.algorithm, True)
    adapter = layer.build(file)
    weight = layer.layer.weight
    if (adapter.uses_base_weight and weight.is_meta) or not layer.is_certain:
        title = "DoRA" if isinstance(adapter, DoRA) else ALGORITHMS[layer.algorithm].title
        reason = f"{title} changes a weight depending on its values" if layer.is_certain else "its kernel is not known"
        advice = "merge the rows into layers of their own with `convert` first" if targets else "give argument `model`"
        raise InputError(f"File `{file.path}`, layer `{layer.name}`: {reason}: {advice}, what the file was made for.")
    rank, energy = limits
    own_rank = getattr(adapter, "rank", None)
    names = set(file.layers[layer.name])
    if rank is not None and names <= {_UP, _DOWN, _ALPHA, "diff_b"} and own_rank is not None and own_rank <= rank:
        with torch.no_grad():
            norm = adapter.structure(weight).dense().norm().item()
        return _Resized({}, LayerFit(layer.name, own_rank, norm, 0.0))
    with torch.no_grad():
        lora, fit = convert_to_lora(layer.layer, adapter, rank, energy, dtype)
    new = {name: values.detach() for name, values in lora.state_tensors().items()}
    bias = adapter.bias_delta()
    if "lora_bias" in names and bias is not None:
        new["lora_bias"] = bias.detach()  # PEFT scales it as the update, whose scale is 1 now
    return _Resized(new, LayerFit(layer.name, fit.rank, fit.norm, fit.distance))


def _replace_tensors(
    tensors: dict[str, Tensor], file: AdapterFile, layer: FileLayer, new: Mapping[str, Tensor], dtype: str
) -> None:
    """Put a LoRA's factors in place of a layer's tensors, under the names of the file's dialect."""
    keys = {split[1]: key for key in file.sources[layer.name] if (split := split_key(key)) is not None}
    tensor, key = next(iter(keys.items()))
    stem = key[: -len(tensor) - 1] if key.endswith(f".{tensor}") else layer.name
    is_dotted = "." in stem
    for name, spellings in _FACTORS.items():
        known = next((keys[spelling] for spelling in spellings if spelling in keys), None)
        if name == _ALPHA:
            if known is not None:
                tensors[known] = torch.full_like(tensors[known], new[_ALPHA].item())
            elif not is_dotted:
                tensors[f"{stem}.{_ALPHA}"] = new[_ALPHA]
            continue
        letter = "B" if name == _UP else "A"
        known = known or f"{stem}.{f'lora_{letter}.weight' if is_dotted else name}"
        tensors[known] = cast_tensor(known, new[name], dtype)
        keys[spellings[0]] = known
    if "lora_bias" in new:
        tensors[keys["lora_bias"]] = cast_tensor(keys["lora_bias"], new["lora_bias"], dtype)
    kept = {"diff_b", "lora_bias", *(name for spellings in _FACTORS.values() for name in spellings)}
    for name, source in keys.items():
        if name not in kept:
            tensors.pop(source, None)


def _metadata(file: AdapterFile, report: ApproximationReport) -> dict[str, str]:
    """Return the header: the facts about the training, and the new ranks."""
    metadata = kept_metadata(file.metadata)
    ranks = {fit.rank for fit in report.layers}
    if any(name.startswith("ss_network_") for name in file.metadata):
        rank = str(ranks.pop()) if len(ranks) == 1 else "Dynamic"
        metadata |= {"ss_network_module": "networks.lora", "ss_network_dim": rank, "ss_network_alpha": rank}
    metadata |= {
        name: value for name, value in file.metadata.items() if name.startswith("modelspec.") and "hash" not in name
    }
    algorithms = {each.algorithm for each in read_file_layers(file).layers if not each.is_norm}
    origin = describe_origin(algorithms.pop() if len(algorithms) == 1 else "mixed", report)
    return {"format": "pt", **metadata, "lycoris.resized_from": origin}


def _check_written(target: str | PathLike[str], source: AdapterFile) -> None:
    """Read the file back: the layers are those of the source, each of an algorithm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = read_adapter_file(target)
    if set(file.layers) != set(source.layers):
        raise InputError(f"File `{target}` was written, but reading it back gives other layers.")
    for layer in read_file_layers(file).layers:
        layer.build(file)
