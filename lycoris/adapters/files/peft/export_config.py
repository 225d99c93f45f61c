"""The configuration with which PEFT builds layers of just these shapes and scales."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lycoris.adapters.algorithms.adapter import TargetLayer
from lycoris.adapters.algorithms.lokr import factorization
from lycoris.adapters.files.peft.config import ALPHA_NAMES
from lycoris.adapters.files.peft.writer import PeftLayer, unsupported_error
from lycoris.errors import InputError


def build_config(layers: Sequence[PeftLayer]) -> dict[str, object]:
    """What `adapter_config.json` must say for PEFT to build layers of these very shapes.

    Raises:
        InputError: there is no such configuration.
    """
    kinds = sorted({each.peft_type for each in layers})
    if len(kinds) > 1:
        raise InputError(f"Format `peft` has one algorithm a file, but the network has {' and '.join(kinds)}.")
    kind = kinds[0]
    paths = [each.layer.path for each in layers]
    found: dict[str, object] = {"peft_type": kind, "target_modules": paths, "inference_mode": True}
    found |= {"task_type": None, "base_model_name_or_path": None, "modules_to_save": None}
    if kind == "IA3":
        inputs = [each.layer.path for each in layers if each.on_input]
        return {**found, "feedforward_modules": "|".join(re.escape(path) for path in inputs) or []}
    more = {"LORA": _lora_options, "LOHA": _loha_options, "LOKR": _lokr_options}[kind](layers)
    layers = _with_ranks(layers, bool(more.get("decompose_both")))
    ranks = {path: each.rank for path, each in zip(paths, layers, strict=True)}
    alphas = {path: _as_number(each.alpha) for path, each in zip(paths, layers, strict=True)}
    if kind == "LOKR":
        for each in layers:
            _check_lokr(each, more)
    found["r"], found["rank_pattern"] = _default_and_patterns(ranks)
    found[ALPHA_NAMES[kind]], found["alpha_pattern"] = _default_and_patterns(alphas)
    return {**found, **more}


def _as_number(value: float | None) -> float | int | None:
    return int(value) if value is not None and float(value).is_integer() else value


def _default_and_patterns(values: Mapping[str, object]) -> tuple[object, dict[str, object]]:
    """The most common value, and those of the other layers by a pattern that no other layer matches."""
    common = Counter(values.values()).most_common(1)[0][0]
    return common, {f"^{re.escape(path)}": value for path, value in values.items() if value != common}


def _lora_options(layers: Sequence[PeftLayer]) -> dict[str, object]:
    dora = {"lora_magnitude_vector" in each.tensors for each in layers}
    if len(dora) > 1:
        raise InputError("Format `peft` has DoRA on all layers or on none, but the network on some.")
    return {"use_dora": dora.pop(), "use_rslora": False, "lora_dropout": 0.0, "bias": "none", "init_lora_weights": True}


def _loha_options(layers: Sequence[PeftLayer]) -> dict[str, object]:
    return {"use_effective_conv2d": _uses_tucker(layers), "init_weights": True}


def _uses_tucker(layers: Sequence[PeftLayer]) -> bool:
    """Whether the convolutions with a kernel and a low rank have a Tucker core, all or none of them.

    Raises:
        InputError: some have and some have not.
    """
    cored = set()
    for each in layers:
        kernel = getattr(each.layer.layer, "kernel_size", ())
        if any(size > 1 for size in kernel) and "lokr_w2" not in each.tensors:
            cored.add("hada_t1" in each.tensors or "lokr_t2" in each.tensors)
    if len(cored) > 1:
        raise InputError("Format `peft` has Tucker's form on all convolutions or on none, but the network on some.")
    return bool(cored and cored.pop())


def _lokr_options(layers: Sequence[PeftLayer]) -> dict[str, object]:
    wanted = [_kronecker_sides(each) for each in layers]
    numbers = sorted({number for sides in wanted for pair in sides for number in pair})
    for factor in (-1, *numbers):
        if all(
            _peft_factorization(first * second, factor) == (first, second)
            for sides in wanted
            for first, second in sides
        ):
            break
    else:
        raise InputError("Format `peft` has one `decompose_factor`, but none splits every layer as this LoKr does.")
    both = any("lokr_w1_a" in each.tensors for each in layers)
    return {
        "decompose_factor": factor,
        "decompose_both": both,
        "use_effective_conv2d": _uses_tucker(layers),
        "init_weights": True,
    }


def _peft_factorization(size: int, factor: int) -> tuple[int, int]:
    """As PEFT does it: not in order where the factor divides."""
    return (factor, size // factor) if factor > 0 and size % factor == 0 else factorization(size, factor)


def _kronecker_sides(each: PeftLayer) -> tuple[tuple[int, int], tuple[int, int]]:
    """((a, c), (b, d)): the weight is [a, b] ⊗ [c, d]."""
    t = each.tensors
    a, b = t["lokr_w1"].shape if "lokr_w1" in t else (t["lokr_w1_a"].shape[0], t["lokr_w1_b"].shape[1])
    out, channels = TargetLayer(each.layer.name, each.layer.layer).shape[:2]
    return (a, out // a), (b, channels // b)


def _with_ranks(layers: Sequence[PeftLayer], both: bool) -> list[PeftLayer]:
    """Every layer with a rank: where it is open, one for which PEFT leaves the factors full, and alpha the same."""
    ranks = Counter(each.rank for each in layers if each.rank is not None)
    needed = [_smallest_full_rank(each, both) if each.rank is None else 0 for each in layers]
    common = ranks.most_common(1)[0][0] if ranks else max(needed)
    return [
        replace(each, rank=max(common, least), alpha=float(max(common, least))) if each.rank is None else each
        for each, least in zip(layers, needed, strict=True)
    ]


def _smallest_full_rank(each: PeftLayer, both: bool) -> int:
    (a, c), (b, d) = _kronecker_sides(each)
    return math.ceil(max(c, d, *((a, b) if both else ())) / 2)


def _check_lokr(each: PeftLayer, options: Mapping[str, object]) -> None:
    (a, c), (b, d) = _kronecker_sides(each)
    rank = each.rank or 1
    small, large = bool(options["decompose_both"]) and rank < max(a, b) / 2, rank < max(c, d) / 2
    if small != ("lokr_w1_a" in each.tensors) or large != ("lokr_w2_a" in each.tensors):
        raise unsupported_error(each.layer, f"a LoKr of rank {rank} with tensors {sorted(each.tensors)}")
