"""The weights of a single file under the names of the original layout, with scaled 8-bit weights restored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lycoris.adapters.files.safetensors_io import DTYPES
from lycoris.bases.files.file_kinds import wrong_kind
from lycoris.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

SCALE_SUFFIXES = (".scale_weight", ".weight_scale")
"""A factor that restores the weight beside it: weight = stored value x scale."""
_UNUSED_NAMES = re.compile(r"(.*\.(scale_input|input_scale)|(.*\.)?scaled_fp8|.*\.comfy_quant)")
"""Scales of activations, which are not quantized here, and marks without values."""
_SHORT_CLIP_NAME = re.compile(
    r"(cond_stage_model\.transformer\.|conditioner\.embedders\.\d+\.transformer\.|text_encoders\.clip_[lg]\.transformer\.)"
    r"(?=(embeddings|encoder|final_layer_norm)\.)"
)
"""CLIP without ``text_model.``: the names of NovelAI's checkpoints and of what was merged from them."""


class StoredWeights:
    """The tensors of one safetensors file.

    Args:
        path: the file.

    Attributes:
        metadata: of the file's header.
        shapes: name in the original layout -> shape; scales are not among them.

    Raises:
        InputError: it is no safetensors file, or its weights are quantized in a way that is not read.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = path
        try:
            with safe_open(path, framework="pt") as file:
                self.metadata: dict[str, str] = file.metadata() or {}
                names = list(file.keys())
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
                dtypes = {name: file.get_slice(name).get_dtype() for name in names}
                marks = {name: file.get_tensor(name) for name in names if name.endswith(".comfy_quant")}
        except (SafetensorError, OSError) as error:
            kind = wrong_kind(path)
            raise InputError(
                f"Base `{path}` {kind}" if kind else f"Base `{path}` could not be read: {error}."
            ) from error
        self._check_quantization(names, marks)
        self._scales = {
            _layout_name(name.removesuffix(suffix) + ".weight"): name
            for name in names
            for suffix in SCALE_SUFFIXES
            if name.endswith(suffix)
        }
        scales = set(self._scales.values())
        self._names = {
            _layout_name(name): name for name in names if name not in scales and not _UNUSED_NAMES.fullmatch(name)
        }
        self.shapes = {name: shapes[stored] for name, stored in self._names.items()}
        self._dtypes = {name: dtypes[stored] for name, stored in self._names.items()}

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """Name in the original layout -> dtype as stored; that of a scaled weight is 8-bit.

        Raises:
            InputError: a tensor has a dtype that is not read.
        """
        unknown = next((name for name, dtype in self._dtypes.items() if dtype not in DTYPES), None)
        if unknown is not None:
            raise InputError(
                f"Base `{self.path}`: tensor `{unknown}` has dtype {self._dtypes[unknown]}, which is not read."
            )
        return {name: DTYPES[dtype] for name, dtype in self._dtypes.items()}

    def read(self, names: Iterable[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Read weights by their names in the original layout; a scaled one is restored, in float32.

        Args:
            names: of the weights.
            dtype: that of what is returned; by default as stored.

        Raises:
            InputError: a weight has a value that is not finite, or is an integer.
        """
        from safetensors import safe_open

        weights = {}
        with safe_open(self.path, framework="pt") as file:
            for name in names:
                weight = file.get_tensor(self._names[name])
                if name in self._scales:
                    weight = _restore(weight, file.get_tensor(self._scales[name]))
                if not weight.is_floating_point() and not name.endswith("position_ids"):
                    raise InputError(
                        f"Base `{self.path}` has a quantized weight, `{self._names[name]}` in "
                        f"{str(weight.dtype).removeprefix('torch.')}, which is not read: use the file in half "
                        "precision of the same model."
                    )
                if not is_finite(weight):
                    raise non_finite_error(self._names[name], weight, self.path)
                weights[name] = weight if dtype is None or not weight.is_floating_point() else weight.to(dtype)
        return weights

    def _check_quantization(self, names: Iterable[str], marks: dict[str, Tensor]) -> None:
        formats = {name: json.loads(bytes(mark.tolist())).get("format") for name, mark in marks.items()}
        unread = [
            f"`{name}` ({kind})" for name, kind in formats.items() if kind not in ("float8_e4m3fn", "float8_e5m2")
        ]
        unread += [f"`{name}`" for name in names if name.endswith((".weight_scale_2", ".absmax", ".quant_map"))]
        if unread:
            raise InputError(
                f"Base `{self.path}` has weights quantized in a way that is not read, such as {unread[0]}: use the "
                "file in half precision of the same model."
            )


def is_finite(weight: Tensor) -> bool:
    """Whether a weight has neither a NaN nor an infinity; a weight without values has not."""
    if weight.device.type == "meta" or not weight.is_floating_point():
        return True
    values = weight.float() if weight.element_size() == 1 else weight
    return bool(values.sum(dtype=torch.float32).isfinite()) or bool(values.isfinite().all())  # a sum can overflow


def non_finite_error(name: str, weight: Tensor, source: Path) -> InputError:
    """Build the error for a weight that is not finite.

    Args:
        name: of the tensor.
        source: the file or folder that it comes from.
    """
    count = int((~weight.float().isfinite()).sum())
    return InputError(
        f"Base `{source}` is damaged: tensor `{name}` has {count} of {weight.numel()} values that are NaN or "
        "infinite. Download the file again or use another version of the model."
    )


def _layout_name(name: str) -> str:
    return _SHORT_CLIP_NAME.sub(r"\1text_model.", name, count=1)


def _restore(weight: Tensor, scale: Tensor) -> Tensor:
    scale = scale.float()
    if scale.numel() == 1:
        return weight.float() * scale.reshape(())
    return weight.float() * scale.reshape(-1, *[1] * (weight.dim() - 1))
