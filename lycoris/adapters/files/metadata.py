"""The metadata in a file's header: what wrote it and with which settings, for this and for other tools."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from lycoris.adapters.algorithms import ALGORITHMS, Adapter
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.errors import InputError

DATE_KEY = "modelspec.date"

TRANSFORMER_ARCHITECTURES = {"FluxTransformer2DModel": "flux-1-dev", "SD3Transformer2DModel": "stable-diffusion-3"}
"""Class of a denoiser -> its name in the ModelSpec standard; other transformers have none there."""

LayerAdapter = tuple[LayerRef, Adapter]
"""A layer and its adapter."""


def read_json_entry(path: str | PathLike[str], metadata: Mapping[str, str], name: str) -> dict:
    """Parse a header's entry as a JSON object; an empty one where there is none.

    Raises:
        InputError: it is not a JSON object.
    """
    try:
        value = json.loads(metadata.get(name, "{}"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"File `{path}` has metadata `{name}` that is not a JSON object.")
    return value


def common_algorithm(layer_adapters: Sequence[LayerAdapter]) -> str:
    """Return the one algorithm of these adapters, norms aside, or ``"mixed"``."""
    counts = Counter(adapter.algorithm for _, adapter in layer_adapters)
    if len(counts) > 1:
        del counts["norms"]
    return next(iter(counts)) if len(counts) == 1 else "mixed"


def build_metadata(
    layer_adapters: Sequence[LayerAdapter], algorithm: str, settings: Mapping[str, Any], format: str
) -> dict[str, str]:
    """Return a file's metadata: ours, and in the LyCORIS format those of kohya's and other tools.

    Args:
        layer_adapters: the adapters in the file.
        algorithm: name in `ALGORITHMS`, or ``"mixed"``.
        settings: arguments that the network was created with, as plain JSON values.
        format: a name of `FORMATS`.
    """
    options = {name: settings[name] for name in ("preset", "rank", "alpha", "factor") if settings.get(name) is not None}
    metadata = {f"lycoris.{name}": str(value) for name, value in {"algorithm": algorithm, **options}.items()}
    metadata["lycoris.settings"] = json.dumps(settings, sort_keys=True)
    if isinstance(settings.get("layers"), dict):
        by_layer = {layer.key: adapter.metadata() for layer, adapter in layer_adapters}
        metadata["lycoris.layers"] = json.dumps(by_layer, sort_keys=True)
    if format == "lycoris":
        kohya_name = ALGORITHMS[algorithm].kohya_name if algorithm in ALGORITHMS else None
        metadata["ss_network_module"] = "lycoris.kohya"
        metadata["ss_network_args"] = json.dumps({"algo": kohya_name or algorithm, **options}, sort_keys=True)
        kohya_keys = (("rank", "ss_network_dim"), ("alpha", "ss_network_alpha"))
        metadata |= {key: str(options[name]) for name, key in kohya_keys if name in options}
        kernels = {layer.key: _ambiguous_kernel(layer, adapter) for layer, adapter in layer_adapters}
        kernels = {key: kernel for key, kernel in kernels.items() if kernel is not None}
        if kernels:
            metadata["lycoris.kernels"] = json.dumps(kernels, sort_keys=True)
    architecture = _architecture([layer for layer, _ in layer_adapters])
    if architecture is not None:
        metadata |= {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": f"{architecture}/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.title": algorithm,
        }
    return {"format": "pt", **metadata}


def date_metadata(date: datetime.date | None) -> dict[str, str]:
    """Return a header's date in ISO 8601, to the second where it has a time.

    Raises:
        InputError: it is not a date.
    """
    if date is None:
        return {}
    if not isinstance(date, datetime.date):
        raise InputError(f"Argument `date` must be a date or a datetime, but got {date!r}.")
    return {DATE_KEY: date.isoformat(timespec="seconds") if isinstance(date, datetime.datetime) else date.isoformat()}


def _ambiguous_kernel(layer: LayerRef, adapter: Adapter) -> list[int] | None:
    """Return a layer's kernel where the tensors show only inputs times kernel; empty for a Linear."""
    shapes = {name: tuple(values.shape) for name, values in adapter.state_tensors().items()}
    algorithm = ALGORITHMS[adapter.algorithm]
    ambiguous = not algorithm.uses_base_weight and algorithm.infer_shape(shapes, {})[2:] == (None,)
    return list(getattr(layer.module, "kernel_size", ())) if ambiguous else None


def _architecture(layers: Sequence[LayerRef]) -> str | None:
    """Return the base's name in the ModelSpec standard, where its denoiser identifies it."""
    for layer in layers:
        if layer.kind == "transformer":
            return TRANSFORMER_ARCHITECTURES.get(layer.model_class)
    keys = [layer.module for layer in layers if layer.kind == "unet" and layer.path.endswith("attn2.to_k")]
    widths: set[Any] = {module.in_features for module in keys}
    known = {768: "stable-diffusion-v1", 1024: "stable-diffusion-v2", 2048: "stable-diffusion-xl-v1-base"}
    return known.get(widths.pop()) if len(widths) == 1 else None
