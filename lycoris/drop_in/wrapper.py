"""`create_lycoris` and `create_lycoris_from_weights`: a network of one model."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from torch import Tensor, nn

from lycoris.drop_in.files import open_weights
from lycoris.drop_in.network import LycorisNetwork
from lycoris.drop_in.network_options import trainer_options
from lycoris.drop_in.presets import read_preset


def create_lycoris(
    module: nn.Module,
    multiplier: float = 1.0,
    linear_dim: int | None = 4,
    linear_alpha: float | None = 1,
    warn_on_unmatched: bool = True,
    **kwargs: object,
) -> LycorisNetwork:
    """Create adapters for a model, which act from `apply_to` on.

    Args:
        module: the model.
        multiplier: scale of the adapters.
        linear_dim: the rank; None is 4.
        linear_alpha: numerator of the scale; 0 or None is the rank.
        warn_on_unmatched: log the names of the preset that nothing in the model has.
        kwargs: `preset` (name, TOML file or table) and the options of docs/drop-in.md, also as text.

    Raises:
        InputError: an option or preset that there is not, or a value that a layer does not allow.
    """
    options: Any = trainer_options(kwargs)
    LycorisNetwork.apply_preset(read_preset(options.pop("preset", None) or "full"))
    own: Any = {"linear_dim": linear_dim, "linear_alpha": linear_alpha or 0.0, "warn_on_unmatched": warn_on_unmatched}
    return LycorisNetwork(module, multiplier, **own, **options)


def create_lycoris_from_weights(
    multiplier: float,
    file: str | PathLike[str] | None,
    module: nn.Module,
    weights_sd: Mapping[str, Tensor] | None = None,
    **kwargs: object,
) -> tuple[LycorisNetwork, Mapping[str, Tensor]]:
    """Create the adapters of a file, or of tensors, for a model.

    Args:
        multiplier: scale of the adapters.
        file: its path; without effect where there are tensors.
        module: the model.
        weights_sd: key → values.
        kwargs: options, which only have to be known: the file decides. `algo` decides where keys are those of several.

    Returns:
        The network and the tensors.

    Raises:
        InputError: the file cannot be read, fits no layer, or an option is unknown.
    """
    weights = open_weights(file, weights_sd, kwargs)
    network = LycorisNetwork(module, multiplier, init_only=True)
    network.loras = weights.modules(module, type(network).LORA_PREFIX)
    network.complete(weights, multiplier)
    return network, weights.tensors
