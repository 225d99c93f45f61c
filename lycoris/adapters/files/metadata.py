"""The metadata in a file's header: what wrote it and with which settings, for this and for other tools."""

from __future__ import annotations

import base64
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
PRECISION_KEY = "lycoris.base_precision"
"""Precision of the base's weights in the training, as JSON by part; absent where it was the device's default."""
MAX_TOKENS_KEY = "ss_max_token_length"
"""Kohya's key for `max_token_length`; absent or ``None`` for one window."""

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


def algorithm_title(algorithm: str) -> str:
    """Return the title of an algorithm as its paper writes it; another text, such as ``"mixed"``, as it is."""
    return ALGORITHMS[algorithm].title if algorithm in ALGORITHMS else algorithm


def build_metadata(
    layer_adapters: Sequence[LayerAdapter],
    algorithm: str,
    settings: Mapping[str, Any],
    format: str,
    names: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return a file's metadata: ours, the ModelSpec standard's and, in formats other than PEFT's, kohya's.

    Args:
        layer_adapters: the adapters in the file.
        algorithm: name in `ALGORITHMS`, or ``"mixed"``.
        settings: arguments that the network was created with, as plain JSON values.
        format: a name of `FORMATS`.
        names: a layer's key → its name in the file, where the two differ.
    """
    names = names or {}
    options = {name: settings[name] for name in ("preset", "rank", "alpha", "factor") if settings.get(name) is not None}
    metadata = {f"lycoris.{name}": str(value) for name, value in {"algorithm": algorithm, **options}.items()}
    metadata["lycoris.settings"] = json.dumps(settings, sort_keys=True)
    if isinstance(settings.get("layers"), dict):
        by_layer = {layer.key: adapter.metadata() for layer, adapter in layer_adapters}
        metadata["lycoris.layers"] = json.dumps(by_layer, sort_keys=True)
    family = next((layer.family for layer, _ in layer_adapters if layer.family is not None), None)
    if family is not None and format != "peft":
        metadata["ss_base_model_version"] = family.base_model_version
    if format in ("lycoris", "kohya"):
        kohya_name = ALGORITHMS[algorithm].kohya_name if algorithm in ALGORITHMS else None
        is_kohya_lora = format == "kohya" and algorithm == "lora"
        metadata["ss_network_module"] = "networks.lora" if is_kohya_lora else "lycoris.kohya"
        metadata["ss_network_args"] = json.dumps({"algo": kohya_name or algorithm, **options}, sort_keys=True)
        kohya_keys = (("rank", "ss_network_dim"), ("alpha", "ss_network_alpha"))
        metadata |= {key: str(options[name]) for name, key in kohya_keys if name in options}
    kernels = {names.get(layer.key, layer.key): _ambiguous_kernel(layer, each) for layer, each in layer_adapters}
    kernels = {key: kernel for key, kernel in kernels.items() if kernel is not None}
    if kernels and format in ("lycoris", "kohya", "comfyui"):
        metadata["lycoris.kernels"] = json.dumps(kernels, sort_keys=True)
    if family is not None:
        metadata |= {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": f"{family.architecture}/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.title": algorithm_title(algorithm),
            "modelspec.resolution": family.resolution,
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


def training_metadata(
    *,
    trigger: str | None = None,
    captions: Mapping[str, Sequence[str]] | None = None,
    resolution: int | None = None,
    thumbnail: bytes | None = None,
) -> dict[str, str]:
    """Return header entries about a training, as Civitai and model managers read them.

    Args:
        trigger: words that stand for the concept.
        captions: folder of images → their captions; of these the tags, which commas separate, are counted.
        resolution: edge of the training images in pixels.
        thumbnail: a JPEG image.
    """
    metadata = {}
    if trigger:
        metadata["modelspec.trigger_phrase"] = trigger
    if captions:
        counts = {
            folder: Counter(tag.strip() for caption in texts for tag in caption.split(",") if tag.strip())
            for folder, texts in captions.items()
        }
        metadata["ss_tag_frequency"] = json.dumps(counts, sort_keys=True, ensure_ascii=False)
    if resolution is not None:
        metadata["modelspec.resolution"] = f"{resolution}x{resolution}"
        metadata["ss_resolution"] = f"({resolution}, {resolution})"
    if thumbnail is not None:
        metadata["modelspec.thumbnail"] = f"data:image/jpeg;base64,{base64.b64encode(thumbnail).decode()}"
    return metadata
