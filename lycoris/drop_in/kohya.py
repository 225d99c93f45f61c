"""The network module of sd-scripts: `create_network`, `create_network_from_weights`, and networks of several parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar

from torch import Tensor, nn

from lycoris.drop_in.files import open_weights
from lycoris.drop_in.modules import LycorisBaseModule
from lycoris.drop_in.network import LycorisNetwork
from lycoris.drop_in.network_options import NetworkOptions, trainer_options
from lycoris.drop_in.options import LOGGER
from lycoris.drop_in.presets import FULL, read_preset

TextEncoders = nn.Module | Sequence[nn.Module] | None


class LycorisNetworkKohya(LycorisNetwork):
    """The adapters of a denoiser and of its text encoders, with kohya's names.

    Args:
        text_encoder: one, whose layers are `lora_te_...`, or a list, whose layers are `lora_te1_...`, `lora_te2_...`.
        unet: the denoiser, whose layers are `lora_unet_...`.
        multiplier: scale of every adapter.
        init_only: create no adapter.
        options: those of `NetworkOptions` and `ModuleOptions`.
    """

    LORA_PREFIX_UNET: ClassVar[str] = "lora_unet"
    LORA_PREFIX_TEXT_ENCODER: ClassVar[str] = "lora_te"
    UNET_TARGET_REPLACE_MODULE: ClassVar[list[str]] = list(FULL.unet_target_module or ())
    UNET_TARGET_REPLACE_NAME: ClassVar[list[str]] = list(FULL.unet_target_name or ())
    TEXT_ENCODER_TARGET_REPLACE_MODULE: ClassVar[list[str]] = list(FULL.text_encoder_target_module or ())
    TEXT_ENCODER_TARGET_REPLACE_NAME: ClassVar[list[str]] = []
    MODULE_ALGO_MAP: ClassVar[dict[str, dict[str, Any]]] = {}
    NAME_ALGO_MAP: ClassVar[dict[str, dict[str, Any]]] = {}
    _PRESET_ATTRIBUTES: ClassVar[dict[str, str]] = {
        "enable_conv": "ENABLE_CONV",
        "unet_target_module": "UNET_TARGET_REPLACE_MODULE",
        "unet_target_name": "UNET_TARGET_REPLACE_NAME",
        "text_encoder_target_module": "TEXT_ENCODER_TARGET_REPLACE_MODULE",
        "text_encoder_target_name": "TEXT_ENCODER_TARGET_REPLACE_NAME",
        "module_algo_map": "MODULE_ALGO_MAP",
        "name_algo_map": "NAME_ALGO_MAP",
        "use_fnmatch": "USE_FNMATCH",
        "exclude_name": "TARGET_EXCLUDE_NAME",
    }

    def __init__(
        self,
        text_encoder: TextEncoders,
        unet: nn.Module,
        multiplier: float = 1.0,
        *,
        init_only: bool = False,
        **options: object,
    ):
        self._set_up(multiplier, NetworkOptions.from_call(options))
        self.text_encoder_loras: list[LycorisBaseModule] = []
        self.unet_loras: list[LycorisBaseModule] = []
        own = self.options
        ratios = own.loraplus_lr_ratio, own.loraplus_unet_lr_ratio, own.loraplus_text_encoder_lr_ratio
        self.set_loraplus_lr_ratio(*ratios)
        if init_only:
            return
        cls = type(self)
        for prefix, encoder in named_encoders(text_encoder, cls.LORA_PREFIX_TEXT_ENCODER):
            targets = cls.TEXT_ENCODER_TARGET_REPLACE_MODULE, cls.TEXT_ENCODER_TARGET_REPLACE_NAME
            self.text_encoder_loras += self._create_modules(encoder, prefix, *targets)
        targets = cls.UNET_TARGET_REPLACE_MODULE, cls.UNET_TARGET_REPLACE_NAME
        self.unet_loras = self._create_modules(unet, cls.LORA_PREFIX_UNET, *targets)
        self.loras = [*self.text_encoder_loras, *self.unet_loras]
        self._finish_creation()

    def apply_to(
        self,
        text_encoder: TextEncoders = None,
        unet: nn.Module | None = None,
        apply_text_encoder: bool = True,
        apply_unet: bool = True,
    ) -> None:
        """Let the parts act with the adapters.

        Args:
            text_encoder, unet: without effect: the adapters know their layers.
            apply_text_encoder: False drops the adapters of the text encoders.
            apply_unet: False drops those of the denoiser.
        """
        self._keep(apply_text_encoder, apply_unet)
        super().apply_to()

    def _keep(self, text_encoder: bool, unet: bool) -> None:
        self.text_encoder_loras = self.text_encoder_loras if text_encoder else []
        self.unet_loras = self.unet_loras if unet else []
        self.loras = [*self.text_encoder_loras, *self.unet_loras]

    def merge_to(  # type: ignore[override]  # kohya's arguments
        self,
        text_encoder: TextEncoders = None,
        unet: nn.Module | None = None,
        weights_sd: Mapping[str, Tensor] | None = None,
        dtype: Any = None,
        device: Any = None,
    ) -> None:
        """Add the updates, scaled by the network's multiplier, to the weights for good.

        Args:
            text_encoder, unet: without effect: the adapters know their layers.
            weights_sd: tensors; the adapters of parts that they have nothing of are dropped.
            dtype, device: without effect: weights stay as they are, and where they are.
        """
        if weights_sd is not None:
            prefixes = self.LORA_PREFIX_TEXT_ENCODER, self.LORA_PREFIX_UNET
            self._keep(*(any(key.startswith(prefix) for key in weights_sd) for prefix in prefixes))
        super().merge_to(self.multiplier)

    def set_loraplus_lr_ratio(
        self,
        loraplus_lr_ratio: float | None,
        loraplus_unet_lr_ratio: float | None,
        loraplus_text_encoder_lr_ratio: float | None,
    ) -> None:
        """Let the factor that starts at zero learn faster (LoRA+): for all parts, or for each its own ratio."""
        self.loraplus_lr_ratio = loraplus_lr_ratio
        self.loraplus_unet_lr_ratio = loraplus_unet_lr_ratio
        self.loraplus_text_encoder_lr_ratio = loraplus_text_encoder_lr_ratio

    def prepare_optimizer_params(  # type: ignore[override]  # kohya's arguments
        self,
        text_encoder_lr: float | None = None,
        unet_lr: float | None = 1e-4,
        learning_rate: float | None = None,
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Return groups for an optimizer and what each is, trained from now on; a part without a rate has none.

        Args:
            text_encoder_lr, unet_lr: learning rates of the parts; None is the common one, 0 leaves the part out.
            learning_rate: the common one.
        """
        self.requires_grad_(True)
        groups: list[dict[str, Any]] = []
        descriptions: list[str] = []
        parts = (
            ("textencoder", self.text_encoder_loras, text_encoder_lr, self.loraplus_text_encoder_lr_ratio),
            ("unet", self.unet_loras, unet_lr, self.loraplus_unet_lr_ratio),
        )
        for part, modules, own_rate, own_ratio in parts:
            rate, ratio = learning_rate if own_rate is None else own_rate, own_ratio or self.loraplus_lr_ratio
            if not rate:
                if modules:
                    LOGGER.info("The adapters of `%s` have no learning rate, and are not trained.", part)
                continue
            for parameters, scale, what in _split_loraplus(modules, ratio):
                groups.append({"params": parameters, "lr": rate * scale})
                descriptions.append(f"{part}{what}")
        return groups, descriptions


def _split_loraplus(
    modules: Sequence[LycorisBaseModule], ratio: float | None
) -> list[tuple[list[nn.Parameter], float, str]]:
    """Return the parameters, those that LoRA+ trains faster apart: parameters, factor of the rate, what they are."""
    fast = {
        id(getattr(adapter, name))
        for module in modules
        for adapter in module.modules()
        for name in (getattr(adapter, "loraplus_parameters", ()) if ratio is not None else ())
    }
    parameters = [each for module in modules for each in module.parameters()]
    split = (
        ([each for each in parameters if id(each) not in fast], 1.0, ""),
        ([each for each in parameters if id(each) in fast], ratio or 1.0, " plus"),
    )
    return [group for group in split if group[0]]


def named_encoders(text_encoder: TextEncoders, prefix: str) -> list[tuple[str, nn.Module]]:
    """Return text encoders with the prefixes of their names: those of a list are counted from 1.

    CLIP's names have the level `text_model`, also where transformers has it no more.
    """
    if text_encoder is None:
        return []
    encoders = [text_encoder] if isinstance(text_encoder, nn.Module) else text_encoder
    prefixes = [prefix] if isinstance(text_encoder, nn.Module) else [f"{prefix}{i + 1}" for i in range(len(encoders))]
    named = [(name, encoder) for name, encoder in zip(prefixes, encoders, strict=True) if encoder is not None]
    return [(f"{name}_text_model" if _lacks_level(encoder) else name, encoder) for name, encoder in named]


def _lacks_level(encoder: nn.Module) -> bool:
    return type(encoder).__name__.startswith("CLIPTextModel") and not hasattr(encoder, "text_model")


def create_network(
    multiplier: float,
    network_dim: int | None,
    network_alpha: float | None,
    vae: object,
    text_encoder: TextEncoders,
    unet: nn.Module,
    warn_on_unmatched: bool = True,
    **kwargs: object,
) -> LycorisNetworkKohya:
    """Create adapters for a denoiser and its text encoders, which act from `apply_to` on.

    Args:
        multiplier: scale of the adapters.
        network_dim: the rank; None is 4.
        network_alpha: numerator of the scale; 0 or None is the rank.
        vae: without effect.
        text_encoder, unet: the parts.
        warn_on_unmatched: log the names of the preset that nothing in the model has.
        kwargs: `preset` (name, TOML file or table) and the options of docs/drop-in.md, also as text.

    Raises:
        InputError: an option or preset that there is not, or a value that a layer does not allow.
    """
    options: Any = trainer_options(kwargs)
    LycorisNetworkKohya.apply_preset(read_preset(options.pop("preset", None) or "full"))
    own: Any = {"dim": network_dim, "alpha": network_alpha or 0.0, "warn_on_unmatched": warn_on_unmatched}
    return LycorisNetworkKohya(text_encoder, unet, multiplier, **own, **options)


def create_network_from_weights(
    multiplier: float,
    file: str | PathLike[str] | None,
    vae: object,
    text_encoder: TextEncoders,
    unet: nn.Module,
    weights_sd: Mapping[str, Tensor] | None = None,
    for_inference: bool = False,
    **kwargs: object,
) -> tuple[LycorisNetworkKohya, Mapping[str, Tensor]]:
    """Create the adapters of a file, or of tensors, for a denoiser and its text encoders.

    Args:
        multiplier: scale of the adapters.
        file: its path; without effect where there are tensors.
        vae: without effect.
        text_encoder, unet: the parts.
        weights_sd: key → values.
        for_inference: without effect.
        kwargs: options, which only have to be known: the file decides. `algo` decides where keys are those of several.

    Returns:
        The network and the tensors.

    Raises:
        InputError: the file cannot be read, fits no layer, or an option is unknown.
    """
    weights = open_weights(file, weights_sd, kwargs)
    network = LycorisNetworkKohya(None, unet, multiplier, init_only=True)
    network.unet_loras = weights.modules(unet, network.LORA_PREFIX_UNET)
    for prefix, encoder in named_encoders(text_encoder, network.LORA_PREFIX_TEXT_ENCODER):
        network.text_encoder_loras += weights.modules(encoder, prefix)
    network._keep(True, True)
    network.complete(weights, multiplier)
    return network, weights.tensors
