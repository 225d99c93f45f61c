"""Conversion from PEFT's tensors: LoRA, DoRA, LoHa, LoKr and (IA)³, where they are the same map."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lycoris.adapters.algorithms.alpha import alpha_tensor
from lycoris.adapters.algorithms.dora import DORA_SCALE_KEY
from lycoris.adapters.files.peft.config import PeftConfig
from lycoris.errors import InputError

KEY_PREFIX = "base_model.model."
_TENSORS_OF_TYPE = {
    "LORA": ("lora_A", "lora_B"),
    "LOHA": ("hada_w1_a",),
    "LOKR": ("lokr_w1", "lokr_w1_a"),
    "IA3": ("ia3_l",),
}


def detect_peft_type(layer: str, tensors: Mapping[str, Tensor]) -> str | None:
    """Return PEFT's name of the algorithm of a layer's tensors; None where PEFT did not write them."""
    peft_type = next(
        (peft_type for peft_type, names in _TENSORS_OF_TYPE.items() if any(name in tensors for name in names)), None
    )
    return peft_type if peft_type in ("LORA", "IA3") or "." in layer else None


def from_peft(
    source: object, layer: str, peft_type: str, tensors: Mapping[str, Tensor], config: PeftConfig | None
) -> Mapping[str, Tensor]:
    """Convert the tensors of a layer to LyCORIS's, with alpha.

    Args:
        source: the file, for messages.
        layer: the layer's path in the model.
        peft_type: as `detect_peft_type` returns it.
        tensors: PEFT's name → values.
        config: configuration of the file; without one alpha is the rank.

    Raises:
        InputError: the configuration has another type or rank, or these tensors are another map in PEFT.
    """
    if config is not None and config.peft_type != peft_type:
        raise InputError(
            f"File `{config.source}` is for {config.peft_type}, but `{layer}` in `{source}` is {peft_type}."
        )
    if peft_type == "IA3":
        if set(tensors) != {"ia3_l"}:
            raise InputError(
                f"File `{source}`, layer `{layer}`: (IA)³ has the key `ia3_l` alone, not {sorted(tensors)}."
            )
        return _from_ia3(source, layer, tensors["ia3_l"], config)
    rank = _tensor_rank(tensors)
    if config is not None and rank is not None and rank != config.rank(layer):
        raise InputError(
            f"File `{config.source}` gives `{layer}` rank {config.rank(layer)}, but its tensors have {rank}."
        )
    if peft_type == "LOKR":
        return _from_lokr(source, layer, rank, tensors, config)
    alpha = {} if config is None else {"alpha": alpha_tensor(config.alpha(layer))}
    return {**(_from_lora(tensors) if peft_type == "LORA" else tensors), **alpha}


def _tensor_rank(tensors: Mapping[str, Tensor]) -> int | None:
    names = ("lora_A", "hada_w1_b", "lokr_w1_b", "lokr_w2_b")
    return next((tensors[name].shape[0] for name in names if name in tensors and tensors[name].dim()), None)


def _from_lora(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = {"lora_A": "lora_down.weight", "lora_B": "lora_up.weight", "lora_magnitude_vector": DORA_SCALE_KEY}
    converted = {names.get(name, name): values for name, values in tensors.items()}
    if DORA_SCALE_KEY in converted:
        converted[DORA_SCALE_KEY] = converted[DORA_SCALE_KEY].flatten()
    return converted


def _from_lokr(
    source: object, layer: str, rank: int | None, tensors: Mapping[str, Tensor], config: PeftConfig | None
) -> dict[str, Tensor]:
    if "lokr_w2" in tensors and tensors["lokr_w2"].dim() == 3:
        raise InputError(
            f"File `{source}`, layer `{layer}`: PEFT mixes a Conv1d's axes in a LoKr with a full `lokr_w2`, which this "
            "library does not."
        )
    if config is None:
        return dict(tensors)
    if rank is not None:
        return {**tensors, "alpha": alpha_tensor(config.alpha(layer))}
    scale = config.alpha(layer) / config.rank(layer)  # LyCORIS has no scale where both factors are full
    converted = dict(tensors)
    if scale != 1 and "lokr_w2" in converted:
        w2 = converted["lokr_w2"]
        converted["lokr_w2"] = w2.to(torch.promote_types(w2.dtype, torch.float32)) * scale
    return converted


def _from_ia3(source: object, layer: str, gain: Tensor, config: PeftConfig | None) -> dict[str, Tensor]:
    linear = gain.dim() == 2
    if config is not None:
        on_input = config.on_input(layer)
    elif linear and max(gain.shape) > 1:
        on_input = gain.shape[0] == 1
    else:
        raise InputError(f"File `{source}`, layer `{layer}`: (IA)³ on it needs PEFT's adapter_config.json.")
    return {"weight": (gain.flatten() if linear else gain) - 1, "on_input": torch.tensor(int(on_input))}
