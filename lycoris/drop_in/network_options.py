"""Options of a whole network, and the arguments of trainers that become them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lycoris.drop_in.options import LOGGER, ModuleOptions, algorithm_name, parse
from lycoris.errors import InputError

_SYNONYMS = {"network_module": "algo", "conv_lora_dim": "conv_dim"}
_KINDS: Mapping[str, type] = {
    "algo": str,
    "conv_dim": int,
    "conv_alpha": float,
    "train_norm": bool,
    "train_llm_adapter": bool,
    "train_t5xxl": bool,
    "warn_on_unmatched": bool,
    "loraplus_lr_ratio": float,
    "loraplus_unet_lr_ratio": float,
    "loraplus_text_encoder_lr_ratio": float,
}


@dataclass(frozen=True)
class NetworkOptions:
    """Options of a whole network.

    Attributes:
        algo: the algorithm, a name of `ALGORITHMS`.
        conv_dim, conv_alpha: `dim` and `alpha` of convolutions with a kernel larger than 1; None is the same.
        train_norm: adapt the norm layers of the selection too.
        train_llm_adapter: select the blocks of an LLM adapter too.
        train_t5xxl: for trainers to read.
        warn_on_unmatched: log the names of a preset that nothing in the model has.
        loraplus_lr_ratio, loraplus_unet_lr_ratio, loraplus_text_encoder_lr_ratio: of LoRA+, for `lycoris.kohya`.
        module: options of each layer's adapter.
    """

    algo: str = "lora"
    conv_dim: int | None = None
    conv_alpha: float | None = None
    train_norm: bool = False
    train_llm_adapter: bool = False
    train_t5xxl: bool = False
    warn_on_unmatched: bool = True
    loraplus_lr_ratio: float | None = None
    loraplus_unet_lr_ratio: float | None = None
    loraplus_text_encoder_lr_ratio: float | None = None
    module: ModuleOptions = field(default_factory=ModuleOptions)

    @classmethod
    def from_call(cls, values: Mapping[str, object]) -> NetworkOptions:
        """Return the options of a call.

        Args:
            values: name → value, or the text of one; None is the default.

        Raises:
            InputError: an unknown option, or a value that is not of its type.
        """
        own: dict[str, Any] = {}
        rest: dict[str, object] = {}
        for given_name, value in values.items():
            name = _SYNONYMS.get(given_name, given_name)
            if name not in _KINDS:
                rest[given_name] = value
            elif value is not None:
                own[name] = parse(given_name, value, _KINDS[name])
        own["algo"] = algorithm_name(own.get("algo") or "lora")
        module = ModuleOptions().changed(rest)
        if module.bypass_mode:
            LOGGER.info("Option `bypass_mode` has no effect: each layer takes the cheaper of the two ways.")
        return cls(**own, module=module)


def trainer_options(values: Mapping[str, object]) -> dict[str, object]:
    """Return the options of a trainer's call without those that only tell what the trainer has done.

    Args:
        values: name → value. `neuron_dropout` is `dropout` of sd-scripts, `apply_preset` a key of SimpleTuner's file,
            which it has applied itself.

    Raises:
        InputError: `neuron_dropout` and `dropout` differ.
    """
    options = {name: value for name, value in values.items() if name not in ("neuron_dropout", "apply_preset")}
    neuron = values.get("neuron_dropout")
    if neuron is not None:
        if options.get("dropout") is None:
            options["dropout"] = neuron
        elif parse("dropout", options["dropout"], float) != parse("neuron_dropout", neuron, float):
            raise InputError(
                f"Options `dropout` and `neuron_dropout` are one, but got {options['dropout']!r} and {neuron!r}."
            )
    return options
