"""One adapter file of several: exact by concatenation, to a rank by singular values, or by TIES and DARE."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from os import PathLike

from lycoris.adapters.algorithms import ALGORITHMS
from lycoris.adapters.algorithms.bias import BiasDelta
from lycoris.adapters.algorithms.dora import DoRA
from lycoris.adapters.algorithms.norms import Norms
from lycoris.adapters.conversion import check_written, widest_dtype
from lycoris.adapters.files.checkpoint_reader import AdapterFile, read_adapter_file
from lycoris.adapters.files.formats import (
    FORMATS,
    PRECISIONS,
    AdapterSet,
    can_hold,
    check_suffix,
    default_format,
    write_adapters,
)
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.adapters.files.metadata import LayerAdapter
from lycoris.adapters.layers.adapted_layer import NORM_LAYERS
from lycoris.adapters.low_rank_approximation import ApproximationReport
from lycoris.adapters.toolbox.common_layers import WeightedAdapter, group_by_layer
from lycoris.adapters.toolbox.layer_merging import MergeSettings, merge_layer, merge_norms
from lycoris.adapters.toolbox.merge_methods import PRUNING_METHODS
from lycoris.errors import InputError, unknown_name_error


def merge_adapters(
    sources: Sequence[str | PathLike[str]],
    target: str | PathLike[str],
    *,
    weights: Sequence[float] | None = None,
    settings: MergeSettings | None = None,
    model: object | None = None,
    format: str | None = None,
    dtype: str | None = None,
) -> ApproximationReport:
    """Merge adapter files of any dialect and algorithm into one LoRA file.

    The default is exact: ΔW = Σ weight · ΔWᵢ, by concatenated factors, of the rank that this needs. Norm layers and
    biases are summed exactly.

    Args:
        sources: at least two safetensors files or PEFT folders.
        target: the file to write, or a folder in PEFT's format.
        weights: of each file, finite; 1 by default.
        settings: method, rank and what belongs to them.
        model: what the files were made for, as for `convert`; needed where names do not identify the layers, and, with
            its weights, where an update depends on them.
        format: as for `save`.
        dtype: of the tensors, as for `save`; by default the widest of the files.

    Returns:
        Rank and relative Frobenius error of every layer, as written, against the update that the method defines; what
        the format cannot hold.

    Raises:
        InputError: as for `load`; wrong numbers of files or weights, a setting out of its range, files for different
            models, or a model is needed.
    """
    settings = settings or MergeSettings()
    settings.check()
    check_suffix(target)
    weights = _check_weights(sources, weights)
    if format is not None and format not in FORMATS:
        raise unknown_name_error("format", format, FORMATS)
    files = [read_adapter_file(source) for source in sources]
    dtype = _widest_of(files) if dtype is None else dtype
    if dtype not in PRECISIONS:
        raise unknown_name_error("dtype", dtype, PRECISIONS)
    groups, layers = group_by_layer(files, weights, model)
    merged: list[LayerAdapter] = []
    fits = []
    for layer, adapters in groups:
        _check_weights_known(files, layer, adapters)
        if isinstance(layer.module, NORM_LAYERS):
            merged.append((layer, merge_norms(layer, adapters)))
            continue
        lora, fit = merge_layer(layer, adapters, settings, PRECISIONS[dtype])
        merged.append((layer, lora))
        fits.append(fit)
    merged, left_out = _drop_what_the_format_lacks(merged, format, target)
    adapter_set = AdapterSet(merged, "lora", {})
    write_adapters(target, adapter_set, format=format, metadata=_metadata(files, weights, settings), dtype=dtype)
    check_written(target, adapter_set, layers)
    return ApproximationReport(tuple(fits), tuple(left_out) + tuple(key for file in files for key in file.embeddings))


def _check_weights(sources: Sequence[object], weights: Sequence[float] | None) -> list[float]:
    if len(sources) < 2:
        raise InputError(f"Argument `sources` must have at least two files, but has {len(sources)}.")
    weights = [1.0] * len(sources) if weights is None else list(weights)
    if len(weights) != len(sources):
        raise InputError(
            f"Argument `weights` must have one number for each file, {len(sources)}, but has {len(weights)}."
        )
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise InputError(f"Argument `weights` must be finite numbers, but has {weight!r}.")
    return [float(weight) for weight in weights]


def _widest_of(files: Sequence[AdapterFile]) -> str:
    names = {widest_dtype(file) for file in files}
    return "float32" if names == {"float16", "bfloat16"} else max(names, key=lambda name: PRECISIONS[name].itemsize)


def _check_weights_known(files: Sequence[AdapterFile], layer: LayerRef, adapters: Sequence[WeightedAdapter]) -> None:
    for each in adapters:
        if each.adapter.uses_base_weight and layer.weight.is_meta:
            title = "DoRA" if isinstance(each.adapter, DoRA) else ALGORITHMS[each.adapter.algorithm].title
            names = ", ".join(f"`{file.path}`" for file in files)
            raise InputError(
                f"Files {names}, layer `{layer.name}`: {title} changes a weight depending on its values, so that "
                "merging needs argument `model`, with its weights."
            )


def _drop_what_the_format_lacks(
    merged: Sequence[LayerAdapter], format: str | None, target: str | PathLike[str]
) -> tuple[list[LayerAdapter], list[str]]:
    """Return what a format can hold, and the names of the norm layers and biases that it cannot."""
    format = default_format(merged) if format is None else format
    if can_hold(format, target, merged):
        return list(merged), []
    return list(_plain(merged)), list(_not_plain(merged))


def _plain(merged: Sequence[LayerAdapter]) -> Iterator[LayerAdapter]:
    for layer, adapter in merged:
        if not isinstance(adapter, Norms):
            yield layer, adapter.inner if isinstance(adapter, BiasDelta) else adapter


def _not_plain(merged: Sequence[LayerAdapter]) -> Iterator[str]:
    for layer, adapter in merged:
        if isinstance(adapter, (Norms, BiasDelta)):
            yield f"{layer.name} ({'norm' if isinstance(adapter, Norms) else 'bias'})"


def _metadata(files: Sequence[AdapterFile], weights: Sequence[float], settings: MergeSettings) -> dict[str, str]:
    """Return the header's entry about the origin; names of files only, since paths are of no use elsewhere."""
    names = [str(file.path).replace("\\", "/").rstrip("/").rpartition("/")[2] for file in files]
    options: dict[str, object] = {"method": settings.method, "files": names, "weights": list(weights)}
    if settings.method in PRUNING_METHODS:
        options |= {"density": settings.density}
    if settings.method.startswith("dare"):
        options |= {"seed": settings.seed}
    triggers = [text for file in files if (text := file.metadata.get("modelspec.trigger_phrase"))]
    phrase = {"modelspec.trigger_phrase": ", ".join(dict.fromkeys(triggers))} if triggers else {}
    return {"lycoris.merged_from": json.dumps(options, sort_keys=True), **phrase}
