"""Conversion of an adapter file to another format or to a plain LoRA, with the resulting error."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Literal, NoReturn

import torch
from torch import nn

from lycoris.adapters.algorithms import ALGORITHMS, Adapter
from lycoris.adapters.algorithms.alpha import alpha_tensor
from lycoris.adapters.algorithms.dora import DoRA
from lycoris.adapters.algorithms.lora import LoRA
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.files.checkpoint_reader import AdapterFile, read_adapter_file
from lycoris.adapters.files.families.unet import SD_1, SD_2, SD_LAYOUT, SD_XL, SDXL_LAYOUT, contradicts
from lycoris.adapters.files.formats import (
    FORMATS,
    PRECISIONS,
    AdapterSet,
    can_hold,
    check_suffix,
    describe_unread,
    write_adapters,
)
from lycoris.adapters.files.layer_lookup import describe_left_out, find_targets
from lycoris.adapters.files.layer_names import LayerRef, find_layers, named_parts
from lycoris.adapters.files.metadata import DATE_KEY, LayerAdapter, algorithm_title, common_algorithm
from lycoris.adapters.files.state_dict import build_adapters
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.adapters.layers.injection import with_weight
from lycoris.adapters.low_rank_approximation import (
    ApproximationReport,
    LayerFit,
    check_rank_or_energy,
    frobenius_distance,
    to_low_rank,
    truncate,
)
from lycoris.adapters.meta_layers import InferredLayers, infer_layers
from lycoris.adapters.structures import LowRank
from lycoris.errors import InputError, list_names, unknown_name_error

_GENERATED_METADATA = ("lycoris.", "modelspec.", "ss_network_", "sshs_", "format", "lora_adapter_metadata")
_KEPT_METADATA = (
    DATE_KEY,
    "modelspec.trigger_phrase",
    "modelspec.thumbnail",
    "modelspec.resolution",
    "modelspec.title",
)
"""Beginnings of the header's entries that are generated anew."""


def convert(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    format: str,
    model: nn.Module | Mapping | object | None = None,
    algorithm: Literal["lora"] | None = None,
    rank: int | None = None,
    energy: float | None = None,
    dtype: str | None = None,
) -> ApproximationReport:
    """Rewrite a file in another format, as a plain LoRA where the format cannot hold the algorithm.

    As a LoRA, ΔW keeps its rank and loses nothing, unless `rank` or `energy` limits it. The result is then the nearest
    of its rank, by singular values (Eckart and Young 1936). DyLoRA and T-LoRA files are LoRA files already.

    Args:
        source: a safetensors file of any format, or a PEFT folder.
        target: the file to write; a folder where the format is ``"peft"`` and it does not end in `.safetensors`.
        format: ``"lycoris"``, ``"kohya"``, ``"comfyui"``, ``"diffusers"`` or ``"peft"``, as for `save`. That of
            diffusers always holds a plain LoRA, the others one where they cannot hold the algorithm.
        model: what the file was made for, where names and shapes do not identify the layers: unknown names, LoHa and
            low-rank LoKr of convolutions. It must have its weights for algorithms whose ΔW depends on the weight
            (`ia3`, `glora`, `diag-oft`, `boft`, DoRA); otherwise the meta device is enough.
        algorithm: ``"lora"`` for a plain LoRA in every format.
        rank: at most this many for each layer.
        energy: for each layer, the smallest rank that keeps this share, in (0, 1], of the squared singular values.
        dtype: of the tensors, as for `save`; by default the widest in the file.

    Returns:
        Rank and relative error, as written, of every layer that became a LoRA; what a LoRA cannot hold, and the keys of
        the file that are no part of an adapter; a note where diffusers' `load_lora_weights` does not read the format.

    Warns:
        UserWarning: keys of the file were left out.

    Raises:
        InputError: as for `load`; a model is needed; an invalid rank, energy, format, algorithm or dtype.
    """
    if format not in FORMATS:
        raise unknown_name_error("format", format, FORMATS)
    check_suffix(target)
    if algorithm not in (None, "lora"):
        raise unknown_name_error("algorithm to convert to", algorithm, ["lora"])
    check_rank_or_energy(rank, energy)
    file = read_adapter_file(source)
    dtype = widest_dtype(file) if dtype is None else dtype
    if dtype not in PRECISIONS:
        raise unknown_name_error("dtype", dtype, PRECISIONS)
    to_lora = format == "diffusers" or algorithm == "lora" or rank is not None or energy is not None
    if model is None:
        inferred = layers_without_model(file, needs_path=format != "lycoris", needs_kernel=to_lora or format == "peft")
        layers, targets = inferred.layers, inferred.targets
        _check_layout(file, layers, format)
    else:
        layers = find_layers(named_parts(model), MATRIX_LAYERS + NORM_LAYERS)
        targets = find_targets(file, layers)
    built = build_adapters(file, targets, layers)
    layer_adapters = built.layer_adapters
    if built.left_out:
        warnings.warn(describe_left_out(file, built.left_out), stacklevel=2)
    adapters = AdapterSet(layer_adapters, common_algorithm(layer_adapters), file.settings)
    report = ApproximationReport(())
    metadata = kept_metadata(file.metadata)
    if to_lora or not can_hold(format, target, layer_adapters):
        loras, report = _convert_all_to_lora(file, layer_adapters, rank, energy, PRECISIONS[dtype])
        metadata |= origin_metadata(adapters.algorithm, report, metadata.get("modelspec.title"))
        adapters = AdapterSet(loras, "lora", {})
    write_adapters(target, adapters, format=format, metadata=metadata, dtype=dtype)
    check_written(target, adapters, layers)
    note = describe_unread(format, layer_adapters)
    return replace(report, left_out=(*report.left_out, *built.left_out), notes=() if note is None else (note,))


def _check_layout(file: AdapterFile, layers: Sequence[LayerRef], format: str) -> None:
    """Check that the blocks of a UNet are numbered as those of the published ones, where the format numbers them."""
    unet = [layer for layer in layers if layer.family in (SD_1, SD_2, SD_XL)]
    layout = SDXL_LAYOUT if unet and unet[0].family is SD_XL else SD_LAYOUT
    if format == "comfyui" and contradicts(layout, [layer.path for layer in unet]):
        raise InputError(
            f"File `{file.path}` is of a UNet with other blocks than those of Stable Diffusion 1, 2 and XL, whose "
            "numbers the format `comfyui` has. Give argument `model`, what the file was trained on."
        )


def check_written(target: str | PathLike[str], adapters: AdapterSet, layers: Sequence[LayerRef]) -> None:
    """Read a file back on the layers that it was written for, which checks every name and shape.

    Raises:
        InputError: it does not have the layers that were written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a PEFT file without its configuration has the scale in its tensors
        file = read_adapter_file(target)
    again = build_adapters(file, find_targets(file, layers), layers, torch.device("meta"))
    written = {layer.key for layer, _ in adapters.layer_adapters}
    found = {layer.key for layer, _ in again.layer_adapters}
    if found != written:
        differing = list_names(sorted(found ^ written))
        raise InputError(f"File `{target}` was written, but reading it back differs in the layers {differing}.")


def kept_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the header's entries that a file with other tensors keeps."""
    return {k: v for k, v in metadata.items() if k in _KEPT_METADATA or not k.startswith(_GENERATED_METADATA)}


def describe_origin(algorithm: str, report: ApproximationReport) -> str:
    """Return the header's entry about a file that was converted to a LoRA."""
    error = float(f"{report.error:.3g}")
    origin = {"algorithm": algorithm, "relative_error": error, "left_out": len(report.left_out)}
    return json.dumps(origin, sort_keys=True)


def origin_metadata(algorithm: str, report: ApproximationReport, title: str | None) -> dict[str, str]:
    """Return the header's entries about a file that was converted to a LoRA.

    Args:
        algorithm: of the file that was converted.
        report: how well the LoRA fits.
        title: of the file that was converted; one that only names its algorithm is replaced.
    """
    entries = {"lycoris.converted_from": describe_origin(algorithm, report)}
    if algorithm != "lora" and title in (None, algorithm, algorithm_title(algorithm)):
        entries["modelspec.title"] = f"LoRA converted from {algorithm_title(algorithm)}"
    return entries


def widest_dtype(file: AdapterFile) -> str:
    """Return the name of the widest dtype of a file's tensors, alpha aside."""
    names = {dtype: name for name, dtype in PRECISIONS.items()}
    present = {v.dtype for tensors in file.layers.values() for name, v in tensors.items() if name != "alpha"}
    dtypes = present & set(names)
    if {torch.float16, torch.bfloat16} <= dtypes:
        return "float32"
    return names[max(dtypes, key=lambda dtype: dtype.itemsize)] if dtypes else "float32"


def layers_without_model(file: AdapterFile, *, needs_path: bool, needs_kernel: bool) -> InferredLayers:
    """Infer the layers of a file, and check that what the target needs is certain."""
    if file.unread:
        raise InputError(f"File `{file.path}` has keys that no adapter has: {list_names(file.unread)}.")
    inferred = infer_layers(file)
    needed = {"the path of": needs_path, "the kernel of": needs_kernel, "the rows of q, k and v in": True}
    for what in (what for what, is_needed in needed.items() if is_needed):
        names = [name for name, unknown in inferred.unknown.items() if unknown == what]
        if names:
            _require_model(file, names, what)
    if file.bias_scaled_layers:
        _require_model(file, sorted(file.bias_scaled_layers), "whether there is a bias in")
    return inferred


def _require_model(file: AdapterFile, names: Sequence[str], what: str) -> NoReturn:
    raise InputError(
        f"File `{file.path}` does not tell {what} {len(names)} layers: {list_names(names)}. Give argument "
        "`model`, what the file was made for."
    )


def _convert_all_to_lora(
    file: AdapterFile,
    layer_adapters: Sequence[LayerAdapter],
    rank: int | None,
    energy: float | None,
    dtype: torch.dtype,
) -> tuple[list[LayerAdapter], ApproximationReport]:
    """Convert each adapter to the nearest plain LoRA, and measure the error as written."""
    loras: list[LayerAdapter] = []
    fits, left_out = [], []
    for layer, adapter in layer_adapters:
        if isinstance(layer.module, NORM_LAYERS):
            left_out.append(f"{layer.name} (norm)")
            continue
        if adapter.bias_delta() is not None:
            left_out.append(f"{layer.name} (bias)")
        if adapter.uses_base_weight and with_weight(layer.module, layer.name, functools.partial(_has_no_values, layer)):
            name = "DoRA" if isinstance(adapter, DoRA) else ALGORITHMS[adapter.algorithm].title
            raise InputError(
                f"File `{file.path}`, layer `{layer.name}`: {name} changes a weight depending on its values, so that a "
                "LoRA of it needs argument `model`, with its weights."
            )
        with torch.no_grad():
            to_lora = functools.partial(convert_to_lora, layer, adapter, rank, energy, dtype)
            lora, fit = with_weight(layer.module, layer.name, to_lora)
        loras.append((layer, lora))
        fits.append(fit)
    if not loras:
        raise InputError(f"File `{file.path}` has nothing that a LoRA can hold: {', '.join(left_out[:5])}.")
    return loras, ApproximationReport(tuple(fits), tuple(left_out))


def _has_no_values(layer: LayerRef) -> bool:
    return layer.weight.is_meta


def convert_to_lora(
    layer: LayerRef, adapter: Adapter, rank: int | None, energy: float | None, dtype: torch.dtype
) -> tuple[LoRA, LayerFit]:
    """Convert one adapter to a LoRA of scale 1.

    Args:
        layer: the adapter's layer.
        adapter: it is left in float64 and in evaluation mode.
        rank, energy: as for `convert`.
        dtype: that the factors will be written in.

    Returns:
        The LoRA, and its error in `dtype`.
    """
    exact = to_low_rank(adapter.eval().double().structure(layer.weight))
    product = exact
    if energy is not None or (rank is not None and rank < exact.up.shape[1]):
        product = truncate(exact, rank, energy)
    written = LowRank(product.up.to(dtype).double(), product.down.to(dtype).double())
    lora_rank = product.up.shape[1]
    fit = LayerFit(layer.name, lora_rank, frobenius_distance(exact), frobenius_distance(exact, written))
    return build_lora(layer, product), fit


def build_lora(layer: LayerRef, product: LowRank) -> LoRA:
    """Build the LoRA of scale 1 that has these factors.

    Args:
        layer: the layer.
        product: up [out, rank] and down [rank, in, *kernel], of scale 1.
    """
    lora_rank = product.up.shape[1]
    target = TargetLayer(layer.name, layer.module, uninitialized=True)
    lora = LoRA(target, rank=lora_rank, alpha=float(lora_rank)).to_empty(device=product.up.device)
    lora = lora.to(product.up.dtype)
    shapes = {name: values.shape for name, values in lora.state_tensors().items()}
    lora.load_tensors(
        {
            "lora_up.weight": product.up.reshape(shapes["lora_up.weight"]),
            "lora_down.weight": product.down.reshape(shapes["lora_down.weight"]),
            "alpha": alpha_tensor(float(lora_rank)),
        }
    )
    return lora
