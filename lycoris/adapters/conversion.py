"""One adapter file as another: in another format, and as a plain LoRA, with what that loses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from typing import Literal

import torch
from torch import nn

from lycoris.adapters import ALGORITHMS
from lycoris.adapters.algorithms import dora
from lycoris.adapters.algorithms.adapter import Adapter, TargetLayer, alpha_tensor
from lycoris.adapters.algorithms.lora import LoRA
from lycoris.adapters.files.checkpoint_reader import AdapterFile, read_adapter_file
from lycoris.adapters.files.formats import FORMATS, PRECISIONS, can_hold, write_adapters
from lycoris.adapters.files.layer_names import LayerRef, find_layers, named_parts
from lycoris.adapters.files.metadata import DATE_KEY, common_algorithm, read_json_entry
from lycoris.adapters.files.state_dict import build_adapters, find_algorithm
from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.adapters.low_rank_approximation import (
    ApproximationReport,
    LayerFit,
    check_rank_or_energy,
    frobenius_distance,
    to_low_rank,
    truncate,
)
from lycoris.adapters.meta_model import meta_layer, meta_modules, resolve_layer_paths
from lycoris.adapters.structures.structures import LowRank
from lycoris.errors import InputError, unknown_name_error

_GENERATED_METADATA = ("lycoris.", "modelspec.", "ss_network_", "format", "lora_adapter_metadata")
"""Beginnings of the header's entries that are written anew."""


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
    """Write a file anew in another format, as a plain LoRA where the format cannot hold what it is.

    As a LoRA a change keeps the rank it has, and loses nothing, unless `rank` or `energy` cuts it: then what is kept
    is the nearest there is, by its singular values (Eckart and Young 1936). DyLoRA and T-LoRA are LoRA as they are.

    Args:
        source: a safetensors file of any format, or a folder of PEFT.
        target: the file to write; a folder where the format is ``"peft"`` and it does not end in `.safetensors`.
        format: ``"lycoris"``, ``"peft"`` or ``"diffusers"``; the last is always a plain LoRA, the one before where PEFT
            has no such adapter.
        model: what the file was made for, where names and shapes do not tell: layers of unknown names, LoHa and
            low-rank LoKr of convolutions. With its weights, for algorithms that change a weight by what it is: `ia3`,
            `glora`, `diag-oft`, `boft`, DoRA. Else the meta device will do.
        algorithm: ``"lora"`` to have a plain LoRA in every format.
        rank: at most this many for each layer.
        energy: for each layer the smallest rank that keeps this share, in (0, 1], of the change's squared singular
            values.
        dtype: of the tensors, as for `save`; by default the widest in the file.

    Returns:
        For every layer that became a LoRA its rank and the relative error as written, and what a LoRA cannot hold.

    Raises:
        InputError: as for `load`; a model is needed; a rank, energy, format, algorithm or dtype that is not one.
    """
    if format not in FORMATS:
        raise unknown_name_error("format", format, FORMATS)
    if algorithm not in (None, "lora"):
        raise unknown_name_error("algorithm to convert to", algorithm, ["lora"])
    check_rank_or_energy(rank, energy)
    contents = read_adapter_file(source)
    dtype = _widest_dtype(contents) if dtype is None else dtype
    if dtype not in PRECISIONS:
        raise unknown_name_error("dtype", dtype, PRECISIONS)
    reduced = format == "diffusers" or algorithm == "lora" or rank is not None or energy is not None
    found, vague = (
        _infer_layers(contents) if model is None else (find_layers(named_parts(model), MATRIX_LAYERS + NORM_LAYERS), {})
    )
    if format != "lycoris" and "path" in vague.values():
        _require_model(contents, [name for name, lacks in vague.items() if lacks == "path"], "the path of")
    if (reduced or format == "peft") and "kernel" in vague.values():
        _require_model(contents, [name for name, lacks in vague.items() if lacks == "kernel"], "the kernel of")
    if model is None and contents.bias_scaled_layers:
        _require_model(contents, sorted(contents.bias_scaled_layers), "whether there is a bias in")
    made = build_adapters(contents, found, torch.device("cpu") if model is None else None)
    if any(p.is_meta for _, adapter in made for p in adapter.parameters()):
        made = build_adapters(contents, found, torch.device("cpu"))
    reduced = reduced or not can_hold(format, target, made)
    whole, settings, report = common_algorithm(made), contents.settings, ApproximationReport(())
    kept = {
        key: value
        for key, value in contents.metadata.items()
        if key == DATE_KEY or not key.startswith(_GENERATED_METADATA)
    }
    if reduced:
        made, report = _convert_all_to_lora(contents, made, rank, energy, PRECISIONS[dtype])
        origin = {"algorithm": whole, "relative_error": float(f"{report.error:.3g}"), "left_out": len(report.left_out)}
        kept["lycoris.converted_from"] = json.dumps(origin, sort_keys=True)
        whole, settings = "lora", {}
    write_adapters(target, made, whole, settings, format=format, metadata=kept, dtype=dtype)
    return report


def _widest_dtype(contents: AdapterFile) -> str:
    named = {dtype: name for name, dtype in PRECISIONS.items()}
    every = [v.dtype for layer in contents.layers.values() for name, v in layer.items() if name != "alpha"]
    dtypes = {dtype for dtype in every if dtype in named}
    if {torch.float16, torch.bfloat16} <= dtypes:
        return "float32"
    return named[max(dtypes, key=lambda dtype: dtype.itemsize)] if dtypes else "float32"


def _infer_layers(contents: AdapterFile) -> tuple[list[LayerRef], dict[str, str]]:
    """The places that a file's names and shapes tell, and for layers where they do not, what is lacking."""
    kernels = read_json_entry(contents.path, contents.metadata, "lycoris.kernels")
    layers, vague = {}, {}
    for name, (part, path, certain) in resolve_layer_paths(list(contents.layers)).items():
        tensors = contents.layers[name]
        shapes = {key: tuple(values.shape) for key, values in tensors.items()}
        kind = find_algorithm(contents.path, name, shapes, contents.layer_metadata(name))
        try:
            constants = {key: values.item() for key, values in tensors.items() if values.numel() == 1}
            shape = list(kind.infer_shape(shapes, constants))
            scale = shapes.get(dora.DORA_SCALE_KEY, ())
            if kind.uses_base_weight and scale:
                shape[0 if scale[0] != 1 else 1] = max(scale)
                shape += scale[len(shape) :]
            bias = "diff_b" in shapes or "b_norm" in shapes
            layer, known = meta_layer(name, kind, tuple(shape), path, kernels.get(name), bias)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            reason = f"the key {error} is missing." if isinstance(error, KeyError) else str(error)
            raise InputError(f"File `{contents.path}`, layer `{name}`: {reason}") from None
        layers[part, path] = layer
        if not certain:
            vague[name] = "path"
        elif not known and not kind.uses_base_weight:
            vague[name] = "kernel"
    parts = meta_modules(layers)
    if any(name.startswith("lora_te1_") for name in contents.layers):
        parts.setdefault("text_encoder_2", nn.Module())  # te1 is the first of several
    return find_layers(parts, MATRIX_LAYERS + NORM_LAYERS), vague


def _require_model(contents: AdapterFile, names: list[str], what: str) -> None:
    listed = ", ".join(f"`{name}`" for name in names[:3]) + (" ..." if len(names) > 3 else "")
    raise InputError(
        f"File `{contents.path}` does not tell {what} {len(names)} layers: {listed}. Give argument `model`, what the "
        "file was made for; on the meta device it takes no memory."
    )


def _convert_all_to_lora(
    contents: AdapterFile,
    made: list[tuple[LayerRef, Adapter]],
    rank: int | None,
    energy: float | None,
    dtype: torch.dtype,
) -> tuple[list[tuple[LayerRef, Adapter]], ApproximationReport]:
    """The nearest plain LoRA of each adapter, and how near it is once written."""
    pairs: list[tuple[LayerRef, Adapter]] = []
    fits, left_out = [], []
    for place, adapter in made:
        if isinstance(place.layer, NORM_LAYERS):
            left_out.append(f"{place.name} (norm)")
            continue
        if adapter.bias() is not None:
            left_out.append(f"{place.name} (bias)")
        if adapter.uses_base_weight and place.weight.is_meta:
            kind = "DoRA" if isinstance(adapter, dora.DoRA) else ALGORITHMS[adapter.algorithm].__name__
            raise InputError(
                f"File `{contents.path}`, layer `{place.name}`: {kind} changes a weight by what it is, so that a LoRA "
                "of it needs argument `model`, with its weights."
            )
        with torch.no_grad():
            lora, fit = convert_to_lora(place, adapter, rank, energy, dtype)
        pairs.append((place, lora))
        fits.append(fit)
    if not pairs:
        raise InputError(f"File `{contents.path}` has nothing that a LoRA can hold: {', '.join(left_out[:5])}.")
    return pairs, ApproximationReport(tuple(fits), tuple(left_out))


def convert_to_lora(
    place: LayerRef, adapter: Adapter, rank: int | None, energy: float | None, dtype: torch.dtype
) -> tuple[LoRA, LayerFit]:
    """One adapter as a LoRA of scale 1, and how near it is in a dtype.

    Args:
        place, adapter: the layer and what is on it.
        rank, energy: as for `convert`.
        dtype: that the factors will be written in.
    """
    structure = adapter.eval().double().structure(place.weight)
    product = exact = to_low_rank(structure)
    if energy is not None or (rank is not None and rank < exact.up.shape[1]):
        product = truncate(exact, rank, energy)
    written = LowRank(product.up.to(dtype).double(), product.down.to(dtype).double())
    kept = product.up.shape[1]
    fit = LayerFit(place.name, kept, frobenius_distance(exact), frobenius_distance(exact, written))
    site = TargetLayer(place.name, place.layer, uninitialized=True)
    lora = LoRA(site, rank=kept, alpha=float(kept)).to_empty(device=product.up.device).to(product.up.dtype)
    shaped = {name: values.shape for name, values in lora.state_tensors().items()}
    lora.load_tensors(
        {
            "lora_up.weight": product.up.reshape(shaped["lora_up.weight"]),
            "lora_down.weight": product.down.reshape(shaped["lora_down.weight"]),
            "alpha": alpha_tensor(float(kept)),
        }
    )
    return lora, fit
