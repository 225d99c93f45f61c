"""The strings in a file's header: what wrote it and with which settings, for us and for the tools of others."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from lycoris.adapters import ALGORITHMS
from lycoris.adapters.algorithms.adapter import Adapter
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.errors import InputError

DATE_KEY = "modelspec.date"


def read_json_entry(path: str | PathLike[str], metadata: Mapping[str, str], name: str) -> dict:
    """One entry of a header that is a JSON object; an empty one where there is none.

    Raises:
        InputError: it is not.
    """
    try:
        found = json.loads(metadata.get(name, "{}"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"File `{path}` has metadata `{name}` that is not a JSON object.")
    return found


def common_algorithm(layer_adapters: Sequence[tuple[LayerRef, Adapter]]) -> str:
    """The one algorithm of these adapters, norms aside, or ``"mixed"``."""
    found = Counter(adapter.algorithm for _, adapter in layer_adapters)
    if len(found) > 1:
        del found["norms"]
    return next(iter(found)) if len(found) == 1 else "mixed"


def build_metadata(
    layer_adapters: Sequence[tuple[LayerRef, Adapter]], algorithm: str, settings: Mapping[str, Any], format: str
) -> dict[str, str]:
    """The strings of a file's header: ours, and in the LyCORIS format those that kohya's tools and others look for."""
    given = {name: settings[name] for name in ("preset", "rank", "alpha", "factor") if settings.get(name) is not None}
    found = {f"lycoris.{name}": str(value) for name, value in {"algorithm": algorithm, **given}.items()}
    found["lycoris.settings"] = json.dumps(settings, sort_keys=True)
    if isinstance(settings.get("layers"), dict):
        found["lycoris.layers"] = json.dumps({place.key: a.metadata() for place, a in layer_adapters}, sort_keys=True)
    if format == "lycoris":
        algo = {"lora": "locon", "t-lora": "tlora"}.get(algorithm, algorithm)
        found["ss_network_module"] = "lycoris.kohya"
        found["ss_network_args"] = json.dumps({"algo": algo, **given}, sort_keys=True)
        found |= {
            f"ss_network_{new}": str(given[old]) for old, new in (("rank", "dim"), ("alpha",) * 2) if old in given
        }
        kernels = {
            place.key: kernel
            for place, adapter in layer_adapters
            if (kernel := _ambiguous_kernel(place, adapter)) is not None
        }
        if kernels:
            found["lycoris.kernels"] = json.dumps(kernels, sort_keys=True)
    architecture = _architecture([place for place, _ in layer_adapters])
    if architecture is not None:
        found |= {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": f"{architecture}/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.title": algorithm,
        }
    return {"format": "pt", **found}


def date_metadata(date: datetime.date | None) -> dict[str, str]:
    """The header's date in ISO 8601, to the second where it has a time.

    Raises:
        InputError: it is none.
    """
    if date is None:
        return {}
    if not isinstance(date, datetime.date):
        raise InputError(f"Argument `date` must be a date or a datetime, but got {date!r}.")
    return {DATE_KEY: date.isoformat(timespec="seconds") if isinstance(date, datetime.datetime) else date.isoformat()}


def _ambiguous_kernel(place: LayerRef, adapter: Adapter) -> list[int] | None:
    """The kernel of a layer of which the tensors show no more than inputs times kernel; empty for a Linear."""
    shapes = {name: tuple(values.shape) for name, values in adapter.state_tensors().items()}
    kind = ALGORITHMS[adapter.algorithm]
    flat = not kind.uses_base_weight and kind.infer_shape(shapes, {})[2:] == (None,)
    return list(getattr(place.layer, "kernel_size", ())) if flat else None


def _architecture(chosen: Sequence[LayerRef]) -> str | None:
    """The base's name in the ModelSpec standard, where the chosen layers tell."""
    if any(place.kind == "transformer" for place in chosen):
        return "flux-1-dev" if any(p.path.startswith("single_") for p in chosen) else "stable-diffusion-3"
    widths: set[Any] = {p.layer.in_features for p in chosen if p.kind == "unet" and p.path.endswith("attn2.to_k")}
    known = {768: "stable-diffusion-v1", 1024: "stable-diffusion-v2", 2048: "stable-diffusion-xl-v1-base"}
    return known.get(widths.pop()) if len(widths) == 1 else None
