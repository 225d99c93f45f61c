"""States in which other libraries leave a layer, each as a function that puts a model into it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn


class SmallModel(nn.Module):
    """A convolution, a norm and Linear layers, in two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.norm = nn.GroupNorm(2, 6)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6)) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, 4, height, width] to [batch, height · width, 6]."""
        x = self.norm(self.conv(x)).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = x + block(x)
        return x


@dataclass(frozen=True)
class State:
    """A state.

    Attributes:
        enter: puts a model into the state, given a folder for files.
        by: the library and the call, for the document.
        stored: dtype to which the state rounds the weights of convolutions and Linear layers.
        merges: whether the layers keep what is merged into them.
    """

    enter: Callable[[nn.Module, Path], object]
    by: str
    stored: torch.dtype | None = None
    merges: bool = True

    def base(self, model: nn.Module) -> nn.Module:
        """A plain copy of a model, with the values that it has in the state."""
        model = copy.deepcopy(model)
        for layer in model.modules():
            if self.stored is not None and isinstance(layer, (nn.Linear, nn.Conv2d)):
                for parameter in layer.parameters():
                    parameter.data = parameter.data.to(self.stored).to(parameter.dtype)
        return model


def _cpu_offload(model: nn.Module, folder: Path) -> None:
    from accelerate import cpu_offload

    cpu_offload(model, execution_device=torch.device("cpu"), offload_buffers=True)


def _dispatch(model: nn.Module, folder: Path) -> None:
    from accelerate import dispatch_model

    device_map = {"conv": "cpu", "norm": "cpu", "blocks.0": "disk", "blocks.1": "cpu"}
    dispatch_model(model, device_map, main_device="cpu", offload_dir=folder / "offload", force_hooks=True)


def _hooks_removed(model: nn.Module, folder: Path) -> None:
    from accelerate.hooks import remove_hook_from_module

    _cpu_offload(model, folder)
    remove_hook_from_module(model, recurse=True)


def _layerwise(storage: torch.dtype, model: nn.Module, folder: Path) -> None:
    from diffusers.hooks import apply_layerwise_casting

    apply_layerwise_casting(model, storage_dtype=storage, compute_dtype=torch.float64, skip_modules_pattern=("norm",))


def _group(kind: str, model: nn.Module, folder: Path) -> None:
    from diffusers.hooks import apply_group_offloading

    blocks = {"num_blocks_per_group": 1} if kind == "block_level" else {}
    cpu = torch.device("cpu")
    apply_group_offloading(model, onload_device=cpu, offload_device=cpu, offload_type=kind, **blocks)


def _peft(model: nn.Module, folder: Path) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    inject_adapter_in_model(LoraConfig(r=2, target_modules=r"conv|blocks\.\d\.0"), model)  # its update starts at zero


STATES = {
    "plain": State(lambda model, folder: None, "as built"),
    "sequential offload": State(_cpu_offload, "accelerate's `cpu_offload`, diffusers' `enable_sequential_cpu_offload`"),
    "device map": State(_dispatch, "accelerate's `dispatch_model`, parts on disk", merges=False),
    "hooks removed": State(_hooks_removed, "accelerate's `remove_hook_from_module`"),
    "float8 storage": State(
        functools.partial(_layerwise, torch.float8_e4m3fn),
        "diffusers' `enable_layerwise_casting`",
        torch.float8_e4m3fn,
        merges=False,
    ),
    "bfloat16 storage": State(functools.partial(_layerwise, torch.bfloat16), "the same", torch.bfloat16, merges=False),
    "group offload by leaf": State(functools.partial(_group, "leaf_level"), "diffusers' `enable_group_offload`"),
    "group offload by block": State(functools.partial(_group, "block_level"), "the same"),
    "PEFT's adapters": State(_peft, "`add_adapter`, `load_lora_weights`"),
}
"""States with plain weights, by name."""


def _bitsandbytes(kind: str, layer: nn.Linear) -> nn.Module:
    import bitsandbytes as bnb

    if kind == "int8":
        quantised: nn.Module = bnb.nn.Linear8bitLt(layer.in_features, layer.out_features, has_fp16_weights=False)
    else:
        quantised = bnb.nn.Linear4bit(layer.in_features, layer.out_features, quant_type="nf4")
    quantised.load_state_dict(layer.state_dict())
    return quantised.to("cpu")


def _torchao(kind: str, layer: nn.Linear) -> nn.Module:
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_

    quantize_(nn.Sequential(layer), Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig())
    return layer


QUANTISED = {
    "bitsandbytes NF4": ("bitsandbytes", functools.partial(_bitsandbytes, "nf4")),
    "bitsandbytes int8": ("bitsandbytes", functools.partial(_bitsandbytes, "int8")),
    "torchao int8": ("torchao", functools.partial(_torchao, "int8")),
    "torchao float8": ("torchao", functools.partial(_torchao, "float8")),
}
"""Name → package, and a function that quantises a Linear layer."""
