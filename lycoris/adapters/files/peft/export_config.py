"""The configuration with which PEFT builds layers of given shapes and scales."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lycoris.adapters.algorithms.lokr import factorization
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.files.peft.config import ALPHA_NAMES
from lycoris.adapters.files.peft.writer import PeftLayer, unsupported_error
from lycoris.errors import InputError

Sides = tuple[tuple[int, int], tuple[int, int]]
"""((a, c), (b, d)) of a weight [a, b] ⊗ [c, d]."""


def build_config(layers: Sequence[PeftLayer]) -> dict[str, object]:
    """Return the content of `adapter_config.json` with which PEFT builds layers of exactly these shapes.

    Raises:
        InputError: there is no such configuration.
    """
    peft_types = sorted({layer.peft_type for layer in layers})
    if len(peft_types) > 1:
        raise InputError(f"Format `peft` has one algorithm a file, but the network has {' and '.join(peft_types)}.")
    peft_type = peft_types[0]
    paths = [layer.layer.path for layer in layers]
    config: dict[str, object] = {"peft_type": peft_type, "target_modules": paths, "inference_mode": True}
    config |= {"task_type": None, "base_model_name_or_path": None, "modules_to_save": None}
    if peft_type == "IA3":
        inputs = [layer.layer.path for layer in layers if layer.on_input]
        return {**config, "feedforward_modules": "|".join(re.escape(path) for path in inputs) or []}
    options = {"LORA": _lora_options, "LOHA": _loha_options, "LOKR": _lokr_options}[peft_type](layers)
    layers = _with_ranks(layers, bool(options.get("decompose_both")))
    ranks = {path: layer.rank for path, layer in zip(paths, layers, strict=True)}
    alphas = {path: _as_number(layer.alpha) for path, layer in zip(paths, layers, strict=True)}
    if peft_type == "LOKR":
        for layer in layers:
            _check_lokr(layer, options)
    config["r"], config["rank_pattern"] = _default_and_patterns(ranks)
    config[ALPHA_NAMES[peft_type]], config["alpha_pattern"] = _default_and_patterns(alphas)
    return {**config, **options}


def _as_number(value: float | None) -> float | int | None:
    return int(value) if value is not None and float(value).is_integer() else value


def _default_and_patterns(values: Mapping[str, object]) -> tuple[object, dict[str, object]]:
    """Return the most common value, and the others by a pattern that matches no other layer."""
    default = Counter(values.values()).most_common(1)[0][0]
    return default, {f"^{re.escape(path)}": value for path, value in values.items() if value != default}


def _lora_options(layers: Sequence[PeftLayer]) -> dict[str, object]:
    dora = {"lora_magnitude_vector" in layer.tensors for layer in layers}
    if len(dora) > 1:
        raise InputError("Format `peft` has DoRA on all layers or on none, but the network on some.")
    return {"use_dora": dora.pop(), "use_rslora": False, "lora_dropout": 0.0, "bias": "none", "init_lora_weights": True}


def _loha_options(layers: Sequence[PeftLayer]) -> dict[str, object]:
    return {"use_effective_conv2d": _uses_tucker(layers), "init_weights": True}


def _lokr_options(layers: Sequence[PeftLayer]) -> dict[str, object]:
    sides = [_kronecker_sides(layer) for layer in layers]
    sizes = sorted({size for layer_sides in sides for pair in layer_sides for size in pair})
    for factor in (-1, *sizes):
        if all(_peft_factorization(a * b, factor) == (a, b) for layer_sides in sides for a, b in layer_sides):
            break
    else:
        raise InputError("Format `peft` has one `decompose_factor`, but none splits every layer as this LoKr does.")
    return {
        "decompose_factor": factor,
        "decompose_both": any("lokr_w1_a" in layer.tensors for layer in layers),
        "use_effective_conv2d": _uses_tucker(layers),
        "init_weights": True,
    }


def _uses_tucker(layers: Sequence[PeftLayer]) -> bool:
    """Tell whether the convolutions with a kernel and a low rank have a Tucker core.

    Raises:
        InputError: some have one and some do not.
    """
    found = set()
    for layer in layers:
        kernel = getattr(layer.layer.module, "kernel_size", ())
        if any(size > 1 for size in kernel) and "lokr_w2" not in layer.tensors:
            found.add("hada_t1" in layer.tensors or "lokr_t2" in layer.tensors)
    if len(found) > 1:
        raise InputError("Format `peft` has Tucker's form on all convolutions or on none, but the network on some.")
    return bool(found and found.pop())


def _peft_factorization(size: int, factor: int) -> tuple[int, int]:
    """Split a size as PEFT does: not in ascending order where the factor divides."""
    return (factor, size // factor) if factor > 0 and size % factor == 0 else factorization(size, factor)


def _kronecker_sides(layer: PeftLayer) -> Sides:
    t = layer.tensors
    a, b = t["lokr_w1"].shape if "lokr_w1" in t else (t["lokr_w1_a"].shape[0], t["lokr_w1_b"].shape[1])
    out, channels = TargetLayer(layer.layer.name, layer.layer.module).shape[:2]
    return (a, out // a), (b, channels // b)


def _with_ranks(layers: Sequence[PeftLayer], decompose_both: bool) -> list[PeftLayer]:
    """Give every layer a rank: where it is open, one with which PEFT keeps the factors full, and the same alpha."""
    ranks = Counter(layer.rank for layer in layers if layer.rank is not None)
    minima = [_smallest_full_rank(layer, decompose_both) if layer.rank is None else 0 for layer in layers]
    common = ranks.most_common(1)[0][0] if ranks else max(minima)
    return [
        replace(layer, rank=max(common, minimum), alpha=float(max(common, minimum))) if layer.rank is None else layer
        for layer, minimum in zip(layers, minima, strict=True)
    ]


def _smallest_full_rank(layer: PeftLayer, decompose_both: bool) -> int:
    (a, c), (b, d) = _kronecker_sides(layer)
    return math.ceil(max(c, d, *((a, b) if decompose_both else ())) / 2)


def _check_lokr(layer: PeftLayer, options: Mapping[str, object]) -> None:
    (a, c), (b, d) = _kronecker_sides(layer)
    rank = layer.rank or 1
    decompose_outer = bool(options["decompose_both"]) and rank < max(a, b) / 2
    decompose_inner = rank < max(c, d) / 2
    if decompose_outer != ("lokr_w1_a" in layer.tensors) or decompose_inner != ("lokr_w2_a" in layer.tensors):
        raise unsupported_error(layer.layer, f"a LoKr of rank {rank} with tensors {sorted(layer.tensors)}")
