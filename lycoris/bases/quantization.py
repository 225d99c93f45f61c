"""Weights of a base in 4 or 8 bits: bitsandbytes' NF4, torchao's int8 and float8, for Linear layers.

diffusers' own quantizers refuse a CPU and single files, so layers are quantised after they are loaded, one at a time.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

from lycoris.errors import InputError, unknown_name_error

Precision = Literal["nf4", "int8", "fp8", "bf16", "fp16", "fp32"]
PLAIN = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Precisions that are a dtype, by its name."""
QUANTIZED = {"nf4": "bitsandbytes", "int8": "torchao", "fp8": "torchao"}
"""Precisions of fewer bits, by the package that computes with them."""
BYTES_PER_WEIGHT = {
    "nf4": 0.5 + 1 / 64 + 4 / (64 * 256),
    "int8": 1.0,
    "fp8": 1.0,
    "bf16": 2.0,
    "fp16": 2.0,
    "fp32": 4.0,
}
"""Of a weight, without the scale that int8 and fp8 have for each row. NF4 has a scale of 8 bits for each 64
weights, and one of 32 bits for each 256 of those (Dettmers et al. 2023, "QLoRA", section 3)."""
MIN_WEIGHTS = 4096
"""Smaller layers stay as they are: they take no memory."""


@dataclass(frozen=True)
class Precisions:
    """Precisions of the frozen weights; None is the dtype that the base computes in.

    Attributes:
        denoiser: of the denoiser.
        text_encoders: of the text encoders.

    Raises:
        InputError: one is unknown, or its package is not installed.
    """

    denoiser: Precision | None = None
    text_encoders: Precision | None = None

    def __post_init__(self) -> None:
        for value in self.options.values():
            if value not in PLAIN and value not in QUANTIZED:
                raise unknown_name_error("precision", value, [*QUANTIZED, *PLAIN])
            if value in QUANTIZED and importlib.util.find_spec(QUANTIZED[value]) is None:
                raise InputError(
                    f"Argument `precision` is `{value}`, which needs the package {QUANTIZED[value]}: "
                    f"`pip install {QUANTIZED[value]}`."
                )

    @classmethod
    def of(cls, precision: str | Mapping[str, str | None] | Precisions | None) -> Precisions:
        """Return the precisions that an argument `precision` states.

        Args:
            precision: one for denoiser and text encoders, or a mapping with the keys ``denoiser`` and
                ``text_encoders``.

        Raises:
            InputError: a key or a precision is unknown, or a package is not installed.
        """
        if precision is None or isinstance(precision, Precisions):
            return precision or cls()
        if isinstance(precision, str):
            return cls(cast("Precision", precision), cast("Precision", precision))
        for name in precision:
            if name not in ("denoiser", "text_encoders"):
                raise unknown_name_error("key of `precision`", name, ["denoiser", "text_encoders"])
        return cls(**cast("dict[str, Any]", dict(precision)))

    @property
    def options(self) -> dict[str, str]:
        """Those that are set, by the name of their part."""
        named = {"denoiser": self.denoiser, "text_encoders": self.text_encoders}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def is_quantized(self) -> bool:
        """Whether some weights have fewer bits than a dtype, so that adapters cannot be merged into them."""
        return bool(self.packages)

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions that they need."""
        return tuple(sorted({QUANTIZED[value] for value in self.options.values() if value in QUANTIZED}))

    def of_part(self, part: str) -> Precision | None:
        """The precision of a part by its name in a pipeline; None for the VAE's."""
        if part.startswith("text_encoder"):
            return self.text_encoders
        return None if part == "vae" else self.denoiser

    def compute_dtype(self, dtype: str) -> str:
        """Name of the dtype that the denoiser computes in: that of its weights unless they are quantised.

        Args:
            dtype: the argument of `lycoris.bases.open_base`.

        Raises:
            InputError: it is another than `denoiser`.
        """
        own = PLAIN.get(self.denoiser or "")
        if own is None or dtype in ("auto", own):
            return own or dtype
        raise InputError(f"Argument `dtype` must be left out where `precision` is {self.denoiser}, but got {dtype!r}.")

    def text_dtype(self, compute_dtype: torch.dtype) -> torch.dtype:
        """The dtype that text encoders compute in: that of their weights unless they are quantised."""
        own = PLAIN.get(self.text_encoders or "")
        return compute_dtype if own is None else getattr(torch, own)


def quantized_layers(module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Yield the layers of a part that are quantised, with their names.

    They are its Linear layers of at least `MIN_WEIGHTS` weights, without those that its class keeps in float32.
    """
    keep = {name for each in ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict") for name in _names(module, each)}
    for name, layer in module.named_modules():
        if type(layer) is nn.Linear and layer.weight.numel() >= MIN_WEIGHTS and not keep.intersection(name.split(".")):
            yield name, layer


def quantize(module: nn.Module, precision: Precision, device: torch.device) -> None:
    """Quantise the Linear layers of a module in place, one at a time.

    Args:
        module: a part of a base, with its weights.
        precision: a key of `QUANTIZED`.
        device: where the layers will be.
    """
    layers = list(quantized_layers(module))
    for name, layer in layers:
        if precision == "nf4":
            parent, _, own = name.rpartition(".")
            setattr(module.get_submodule(parent), own, _nf4(layer, device))
        else:
            _quantize_with_torchao(layer.to(device), precision)


def mark_quantized(parts: Mapping[str, nn.Module], precisions: Precisions) -> set[nn.Module]:
    """Give the layers of parts without values weights of 8 bits where a base would have quantised ones.

    Args:
        parts: from `lycoris.bases.parameter_count.meta_parts`.

    Returns:
        The layers. What would fail on quantised weights fails on them, with the same message.
    """
    marked: set[nn.Module] = set()
    for part, module in parts.items():
        if precisions.of_part(part) not in QUANTIZED:
            continue
        for _, layer in quantized_layers(module):
            codes = torch.empty(layer.weight.shape, dtype=torch.uint8, device="meta")
            layer.weight = nn.Parameter(codes, requires_grad=False)
            marked.add(layer)
    return marked


def _nf4(layer: nn.Linear, device: torch.device) -> nn.Module:
    import bitsandbytes

    with torch.device("meta"):
        quantized: Any = bitsandbytes.nn.Linear4bit(
            layer.in_features, layer.out_features, bias=layer.bias is not None, quant_type="nf4"
        )
    quantized.weight = bitsandbytes.nn.Params4bit(
        layer.weight.data, requires_grad=False, quant_type="nf4", module=quantized
    )
    quantized.bias = layer.bias
    # bitsandbytes packs weights anew for processors with AVX512-BF16 when no gradient is needed: then not reversibly
    # for training, and with other results than on other processors.
    quantized.support_avx512bf16_for_cpu = False
    return quantized.train(layer.training).to(device)


def _quantize_with_torchao(layer: nn.Linear, precision: Precision) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    quantize_(layer, Int8WeightOnlyConfig() if precision == "int8" else Float8WeightOnlyConfig())


def _names(module: nn.Module, attribute: str) -> tuple[str, ...]:
    return tuple(getattr(module, attribute, None) or ())
