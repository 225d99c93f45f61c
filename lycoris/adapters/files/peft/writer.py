"""Conversion to PEFT's tensors: LoRA, DoRA, LoHa, LoKr and (IA)³, where they are the same map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import Adapter
from lycoris.adapters.algorithms.dora import DORA_SCALE_KEY
from lycoris.adapters.algorithms.target_layer import TargetLayer
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.errors import InputError

_LORA_NAMES = {
    "lora_up.weight": "lora_B.weight",
    "lora_down.weight": "lora_A.weight",
    DORA_SCALE_KEY: "lora_magnitude_vector",
}
_SCALED_TENSORS = ("lora_B.weight", "hada_w2_a", "lokr_w2", "lokr_w2_b")
"""Tensors in which ΔW is linear, and of which each layer has one."""


@dataclass(frozen=True)
class PeftLayer:
    """A layer's adapter in PEFT's form.

    Attributes:
        layer: the layer.
        peft_type: ``"LORA"``, ``"LOHA"``, ``"LOKR"`` or ``"IA3"``.
        tensors: PEFT's name → values.
        rank, alpha: their quotient is the scale; None where the tensors leave the rank open and the scale is 1.
        on_input: whether (IA)³ scales the layer's inputs.
    """

    layer: LayerRef
    peft_type: str
    tensors: Mapping[str, Tensor]
    rank: int | None = None
    alpha: float | None = None
    on_input: bool = False

    def fold_scale(self) -> PeftLayer:
        """Return the same adapter with the scale in a tensor, so that alpha is the rank."""
        if self.rank is None or self.alpha is None or self.alpha == self.rank:
            return self
        scale = self.alpha / self.rank
        tensors = {name: t * scale if name in _SCALED_TENSORS else t for name, t in self.tensors.items()}
        return replace(self, tensors=tensors, alpha=float(self.rank))


def to_peft(layer: LayerRef, adapter: Adapter) -> PeftLayer:
    """Convert a layer's adapter.

    Raises:
        InputError: PEFT does not have the algorithm, or not on such a layer.
    """
    tensors = {name: values.detach() for name, values in adapter.state_tensors().items()}
    module, names = layer.module, set(tensors)
    padded = getattr(module, "padding_mode", "zeros") != "zeros"
    if names - {DORA_SCALE_KEY} == {"lora_up.weight", "lora_down.weight", "alpha"}:
        if padded or getattr(module, "groups", 1) > 1 or any(step > 1 for step in getattr(module, "dilation", ())):
            raise unsupported_error(layer, "a LoRA of grouped, dilated or otherwise padded convolutions")
        return _lora_to_peft(layer, tensors)
    conv1d = isinstance(module, nn.Conv1d)
    if padded or not isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) or DORA_SCALE_KEY in tensors:
        layer_type = type(module).__name__.removeprefix("Adapted")
        raise unsupported_error(layer, f"{adapter.algorithm} of {layer_type} with {sorted(tensors)}")
    alpha = tensors.pop("alpha", torch.tensor(1.0)).item()
    if "on_input" in tensors:
        gain = _ia3_gain(layer, tensors["weight"], bool(tensors["on_input"]))
        return PeftLayer(layer, "IA3", {"ia3_l": gain}, on_input=bool(tensors["on_input"]))
    for name in ("hada_t1", "hada_t2", "lokr_t2"):
        if name in tensors and conv1d:
            tensors[name] = tensors[name].unsqueeze(-1)
    if "hada_w1_a" in tensors:
        return PeftLayer(layer, "LOHA", tensors, tensors["hada_w1_b"].shape[0], alpha)
    if "lokr_w1" in tensors or "lokr_w1_a" in tensors:
        if conv1d and "lokr_w2" in tensors:
            raise unsupported_error(layer, "LoKr of a Conv1d with a full `lokr_w2`")
        rank = next((tensors[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in tensors), None)
        return PeftLayer(layer, "LOKR", tensors, rank, None if rank is None else alpha)
    raise unsupported_error(layer, f"tensors {sorted(tensors)}")


def unsupported_error(layer: LayerRef, what: str) -> InputError:
    """Return the error for an adapter that PEFT cannot hold."""
    return InputError(f"Format `peft` cannot hold {what}, which layer `{layer.name}` has; `lycoris` can.")


def _lora_to_peft(layer: LayerRef, tensors: Mapping[str, Tensor]) -> PeftLayer:
    converted = {_LORA_NAMES[name]: values for name, values in tensors.items() if name != "alpha"}
    if DORA_SCALE_KEY in tensors:
        magnitude = tensors[DORA_SCALE_KEY]
        if magnitude.shape[0] == 1 != TargetLayer(layer.name, layer.module).shape[0]:
            raise unsupported_error(layer, "DoRA by input")
        linear = isinstance(layer.module, nn.Linear)
        converted["lora_magnitude_vector"] = magnitude.flatten() if linear else magnitude.transpose(0, 1)
    return PeftLayer(layer, "LORA", converted, converted["lora_A.weight"].shape[0], tensors["alpha"].item())


def _ia3_gain(layer: LayerRef, weight: Tensor, on_input: bool) -> Tensor:
    module = layer.module
    if isinstance(module, nn.Conv1d) or (on_input and getattr(module, "groups", 1) > 1):
        raise unsupported_error(layer, "(IA)³ of a Conv1d or of a grouped convolution's inputs")
    if not on_input and module.bias is not None:
        raise unsupported_error(layer, "(IA)³ on outputs that leaves a bias as it is")
    return 1 + (weight.view(1, -1) if on_input else weight.view(-1, 1)) if isinstance(module, nn.Linear) else 1 + weight
