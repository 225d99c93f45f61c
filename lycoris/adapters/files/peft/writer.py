"""Our tensors of a layer as PEFT has them: LoRA, DoRA, LoHa, LoKr and (IA)³, where they are the same map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import Adapter, TargetLayer
from lycoris.adapters.algorithms.dora import DORA_SCALE_KEY
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.errors import InputError

_LORA_NAMES = {
    "lora_up.weight": "lora_B.weight",
    "lora_down.weight": "lora_A.weight",
    DORA_SCALE_KEY: "lora_magnitude_vector",
}
_SCALED_TENSORS = ("lora_B.weight", "hada_w2_a", "lokr_w2", "lokr_w2_b")
"""Tensors of which each layer has one, and in which the change is linear."""


@dataclass(frozen=True)
class PeftLayer:
    """A layer as PEFT has it.

    Attributes:
        place: the layer.
        kind: ``"LORA"``, ``"LOHA"``, ``"LOKR"`` or ``"IA3"``.
        tensors: PEFT's name → values.
        rank, alpha: the scale is their quotient; None where the tensors leave the rank open and the scale is 1.
        on_input: of (IA)³, whether it acts on what goes into the layer.
    """

    layer: LayerRef
    peft_type: str
    tensors: Mapping[str, Tensor]
    rank: int | None = None
    alpha: float | None = None
    on_input: bool = False

    def fold_scale(self) -> PeftLayer:
        """The same change with the scale in a tensor, so that alpha is the rank."""
        if self.rank is None or self.alpha is None or self.alpha == self.rank:
            return self
        scale = self.alpha / self.rank
        tensors = {name: t * scale if name in _SCALED_TENSORS else t for name, t in self.tensors.items()}
        return replace(self, tensors=tensors, alpha=float(self.rank))


def to_peft(place: LayerRef, adapter: Adapter) -> PeftLayer:
    """A layer's adapter as PEFT has it.

    Raises:
        InputError: PEFT has no such algorithm or not on such a layer.
    """
    tensors, layer = {name: values.detach() for name, values in adapter.state_tensors().items()}, place.layer
    odd = getattr(layer, "padding_mode", "zeros") != "zeros"
    if set(tensors) - {DORA_SCALE_KEY} == {"lora_up.weight", "lora_down.weight", "alpha"}:
        if odd or getattr(layer, "groups", 1) > 1 or any(step > 1 for step in getattr(layer, "dilation", ())):
            raise unsupported_error(place, "a LoRA of grouped, dilated or otherwise padded convolutions")
        if DORA_SCALE_KEY in tensors:
            if tensors[DORA_SCALE_KEY].shape[0] == 1 != TargetLayer(place.name, layer).shape[0]:
                raise unsupported_error(place, "DoRA by input")
            tensors[DORA_SCALE_KEY] = (
                tensors[DORA_SCALE_KEY].flatten()
                if isinstance(layer, nn.Linear)
                else tensors[DORA_SCALE_KEY].transpose(0, 1)
            )
        own = {_LORA_NAMES[name]: values for name, values in tensors.items() if name != "alpha"}
        return PeftLayer(place, "LORA", own, own["lora_A.weight"].shape[0], tensors["alpha"].item())
    one = isinstance(layer, nn.Conv1d)
    if odd or not isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)) or DORA_SCALE_KEY in tensors:
        raise unsupported_error(
            place, f"{adapter.algorithm} of {type(layer).__name__.removeprefix('Adapted')} with {sorted(tensors)}"
        )
    alpha = tensors.pop("alpha", torch.tensor(1.0)).item()
    if "on_input" in tensors:
        return PeftLayer(place, "IA3", {"ia3_l": _ia3_gain(place, **tensors)}, on_input=bool(tensors["on_input"]))
    for name in ("hada_t1", "hada_t2", "lokr_t2"):
        if name in tensors and one:
            tensors[name] = tensors[name].unsqueeze(-1)
    if "hada_w1_a" in tensors:
        return PeftLayer(place, "LOHA", tensors, tensors["hada_w1_b"].shape[0], alpha)
    if "lokr_w1" in tensors or "lokr_w1_a" in tensors:
        if one and "lokr_w2" in tensors:
            raise unsupported_error(place, "LoKr of a Conv1d with a full `lokr_w2`")
        rank = next((tensors[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in tensors), None)
        return PeftLayer(place, "LOKR", tensors, rank, None if rank is None else alpha)
    raise unsupported_error(place, f"tensors {sorted(tensors)}")


def unsupported_error(place: LayerRef, what: str) -> InputError:
    """An error for what PEFT cannot hold."""
    return InputError(f"Format `peft` cannot hold {what}, which layer `{place.name}` has; `lycoris` can.")


def _ia3_gain(place: LayerRef, weight: Tensor, on_input: Tensor) -> Tensor:
    layer, inputs = place.layer, bool(on_input)
    if isinstance(layer, nn.Conv1d) or (inputs and getattr(layer, "groups", 1) > 1):
        raise unsupported_error(place, "(IA)³ of a Conv1d or of a grouped convolution's inputs")
    if not inputs and layer.bias is not None:
        raise unsupported_error(place, "(IA)³ on outputs that leaves a bias as it is")
    return 1 + (weight.view(1, -1) if inputs else weight.view(-1, 1)) if isinstance(layer, nn.Linear) else 1 + weight
