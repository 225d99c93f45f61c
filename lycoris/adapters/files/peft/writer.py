"""Our tensors of a layer as PEFT has them: LoRA, DoRA, LoHa, LoKr and (IA)³, where they are the same map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lycoris.adapters.algorithms.adapter import Adapter, Site
from lycoris.adapters.algorithms.dora import KEY
from lycoris.adapters.files.layer_names import Place
from lycoris.errors import InputError

_LORA = {"lora_up.weight": "lora_B.weight", "lora_down.weight": "lora_A.weight", KEY: "lora_magnitude_vector"}
_SCALED = ("lora_B.weight", "hada_w2_a", "lokr_w2", "lokr_w2_b")
"""Tensors of which each layer has one, and in which the change is linear."""


@dataclass(frozen=True)
class Written:
    """A layer as PEFT has it.

    Attributes:
        place: the layer.
        kind: ``"LORA"``, ``"LOHA"``, ``"LOKR"`` or ``"IA3"``.
        tensors: PEFT's name → values.
        rank, alpha: the scale is their quotient; None where the tensors leave the rank open and the scale is 1.
        on_input: of (IA)³, whether it acts on what goes into the layer.
    """

    place: Place
    kind: str
    tensors: Mapping[str, Tensor]
    rank: int | None = None
    alpha: float | None = None
    on_input: bool = False

    def unscaled(self) -> Written:
        """The same change with the scale in a tensor, so that alpha is the rank."""
        if self.rank is None or self.alpha is None or self.alpha == self.rank:
            return self
        scale = self.alpha / self.rank
        tensors = {name: t * scale if name in _SCALED else t for name, t in self.tensors.items()}
        return replace(self, tensors=tensors, alpha=float(self.rank))


def written(place: Place, adapter: Adapter) -> Written:
    """A layer's adapter as PEFT has it.

    Raises:
        InputError: PEFT has no such algorithm or not on such a layer.
    """
    tensors, layer = {name: values.detach() for name, values in adapter.tensors().items()}, place.layer
    odd = getattr(layer, "padding_mode", "zeros") != "zeros"
    if set(tensors) - {KEY} == {"lora_up.weight", "lora_down.weight", "alpha"}:
        if odd or getattr(layer, "groups", 1) > 1 or any(step > 1 for step in getattr(layer, "dilation", ())):
            raise refused(place, "a LoRA of grouped, dilated or otherwise padded convolutions")
        if KEY in tensors:
            if tensors[KEY].shape[0] == 1 != Site(place.name, layer).shape[0]:
                raise refused(place, "DoRA by input")
            tensors[KEY] = tensors[KEY].flatten() if isinstance(layer, nn.Linear) else tensors[KEY].transpose(0, 1)
        own = {_LORA[name]: values for name, values in tensors.items() if name != "alpha"}
        return Written(place, "LORA", own, own["lora_A.weight"].shape[0], tensors["alpha"].item())
    one = isinstance(layer, nn.Conv1d)
    if odd or not isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)) or KEY in tensors:
        raise refused(
            place, f"{adapter.algorithm} of {type(layer).__name__.removeprefix('Adapted')} with {sorted(tensors)}"
        )
    alpha = tensors.pop("alpha", torch.tensor(1.0)).item()
    if "on_input" in tensors:
        return Written(place, "IA3", {"ia3_l": _gain(place, **tensors)}, on_input=bool(tensors["on_input"]))
    for name in ("hada_t1", "hada_t2", "lokr_t2"):
        if name in tensors and one:
            tensors[name] = tensors[name].unsqueeze(-1)
    if "hada_w1_a" in tensors:
        return Written(place, "LOHA", tensors, tensors["hada_w1_b"].shape[0], alpha)
    if "lokr_w1" in tensors or "lokr_w1_a" in tensors:
        if one and "lokr_w2" in tensors:
            raise refused(place, "LoKr of a Conv1d with a full `lokr_w2`")
        rank = next((tensors[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in tensors), None)
        return Written(place, "LOKR", tensors, rank, None if rank is None else alpha)
    raise refused(place, f"tensors {sorted(tensors)}")


def refused(place: Place, what: str) -> InputError:
    """An error for what PEFT cannot hold."""
    return InputError(f"Format `peft` cannot hold {what}, which layer `{place.name}` has; `lycoris` can.")


def _gain(place: Place, weight: Tensor, on_input: Tensor) -> Tensor:
    layer, inputs = place.layer, bool(on_input)
    if isinstance(layer, nn.Conv1d) or (inputs and getattr(layer, "groups", 1) > 1):
        raise refused(place, "(IA)³ of a Conv1d or of a grouped convolution's inputs")
    if not inputs and layer.bias is not None:
        raise refused(place, "(IA)³ on outputs that leaves a bias as it is")
    return 1 + (weight.view(1, -1) if inputs else weight.view(-1, 1)) if isinstance(layer, nn.Linear) else 1 + weight
