"""A network of adapters under the interface of `lycoris-lora`'s."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lycoris.adapters.layers.adapted_layer import MATRIX_LAYERS, NORM_LAYERS
from lycoris.drop_in.algorithms import MODULES
from lycoris.drop_in.files import WeightFile, name_unmatched, read_weights, write_weights
from lycoris.drop_in.modules import LycorisBaseModule
from lycoris.drop_in.network_options import NetworkOptions
from lycoris.drop_in.options import LOGGER, algorithm_name
from lycoris.drop_in.presets import KNOWN_TARGETS, LAYER_CLASSES, PresetConfig
from lycoris.drop_in.selection import Selected, TargetRules, module_class, select_modules
from lycoris.errors import InputError, list_names

_LLM_ADAPTER = "LLMAdapterTransformerBlock"


class LycorisNetwork(nn.Module):
    """The adapters of a model. They are submodules, and act, from `apply_to` on.

    Args:
        module: the model.
        multiplier: scale of every adapter.
        init_only: create no adapter.
        options: those of `NetworkOptions` and `ModuleOptions`.

    Raises:
        InputError: an unknown option, or a value that a layer does not allow.
    """

    loras: list[LycorisBaseModule]
    ENABLE_CONV: ClassVar[bool] = True
    TARGET_REPLACE_MODULE: ClassVar[list[str]] = LAYER_CLASSES
    TARGET_REPLACE_NAME: ClassVar[list[str]] = []
    LORA_PREFIX: ClassVar[str] = "lycoris"
    MODULE_ALGO_MAP: ClassVar[dict[str, dict[str, Any]]] = {}
    NAME_ALGO_MAP: ClassVar[dict[str, dict[str, Any]]] = {}
    USE_FNMATCH: ClassVar[bool] = False
    TARGET_EXCLUDE_NAME: ClassVar[list[str]] = []
    _PRESET_ATTRIBUTES: ClassVar[dict[str, str]] = {
        "enable_conv": "ENABLE_CONV",
        "target_module": "TARGET_REPLACE_MODULE",
        "target_name": "TARGET_REPLACE_NAME",
        "module_algo_map": "MODULE_ALGO_MAP",
        "name_algo_map": "NAME_ALGO_MAP",
        "lora_prefix": "LORA_PREFIX",
        "use_fnmatch": "USE_FNMATCH",
        "exclude_name": "TARGET_EXCLUDE_NAME",
    }

    def __init__(self, module: nn.Module, multiplier: float = 1.0, *, init_only: bool = False, **options: object):
        self._set_up(multiplier, NetworkOptions.from_call(options))
        if not init_only:
            cls = type(self)
            targets = [*cls.TARGET_REPLACE_MODULE, *cls.MODULE_ALGO_MAP], [*cls.TARGET_REPLACE_NAME, *cls.NAME_ALGO_MAP]
            self.loras = self._create_modules(module, cls.LORA_PREFIX, *targets)
            self._finish_creation()

    def _set_up(self, multiplier: float, options: NetworkOptions) -> None:
        nn.Module.__init__(self)
        self.multiplier, self.options = multiplier, options
        self.lora_dim, self.alpha = options.module.dim, options.module.alpha
        self.conv_lora_dim = (options.module.dim if options.conv_dim is None else options.conv_dim) * self.ENABLE_CONV
        self.conv_alpha = options.module.alpha if options.conv_alpha is None else options.conv_alpha
        self.dropout, self.rank_dropout = options.module.dropout, options.module.rank_dropout
        self.module_dropout, self.use_tucker = options.module.module_dropout, options.module.use_tucker
        self.train_llm_adapter, self.train_t5xxl = options.train_llm_adapter, options.train_t5xxl
        self.loras = []
        self.weights_sd: Mapping[str, Tensor] | None = None
        self.algo_table: dict[str, int] = {}
        self._without_effect: set[tuple[str, str]] = set()

    @classmethod
    def apply_preset(cls, preset: Mapping[str, Any]) -> type[LycorisNetwork]:
        """Let networks that are created from now on use a preset; keys that it does not have stay as they are.

        Raises:
            InputError: an unknown key, algorithm or option.
        """
        for key, value in PresetConfig.from_dict(preset).to_dict().items() if preset else ():
            if key in cls._PRESET_ATTRIBUTES:
                setattr(cls, cls._PRESET_ATTRIBUTES[key], value)
        for key in ("module_algo_map", "name_algo_map"):  # empty ones replace too
            if preset.get(key) == {}:
                setattr(cls, cls._PRESET_ATTRIBUTES[key], {})
        return cls

    def _create_modules(
        self, model: nn.Module, prefix: str, classes: Iterable[str], names: Iterable[str]
    ) -> list[LycorisBaseModule]:
        """Return a module for each layer of a model that the preset selects."""
        wanted = [name for name in dict.fromkeys(classes) if self.train_llm_adapter or name != _LLM_ADAPTER]
        rules = TargetRules(
            wanted,
            list(dict.fromkeys(names)),
            self.TARGET_EXCLUDE_NAME,
            self.MODULE_ALGO_MAP,
            self.NAME_ALGO_MAP,
            self.USE_FNMATCH,
        )
        selection = select_modules(model, rules)
        unused = [name for name in selection.unused if name not in KNOWN_TARGETS]  # presets name every family
        if self.options.warn_on_unmatched and unused:
            LOGGER.warning("Nothing of `%s` has these classes or names: %s.", prefix, list_names(unused, 40))
        created = (self._create_module(f"{prefix}_{each.path}".replace(".", "_"), each) for each in selection.modules)
        return [module for module in created if module is not None]

    def _create_module(self, lora_name: str, selected: Selected) -> LycorisBaseModule | None:
        """Return the module of one layer; None for a module that is no layer or has no rank."""
        layer, own = selected.module, dict(selected.overrides)
        algorithm = algorithm_name(own.pop("algo", None) or self.options.algo)
        if self.options.train_norm and "Norm" in module_class(layer):
            if isinstance(layer, NORM_LAYERS) and layer.weight is not None:
                return MODULES["norms"](lora_name, layer, self.multiplier)
            LOGGER.warning("Norm `%s` of class `%s` stays without adapter.", lora_name, module_class(layer))
            return None
        if not isinstance(layer, MATRIX_LAYERS):
            return None
        is_kernel = not isinstance(layer, nn.Linear) and layer.kernel_size[0] != 1
        defaults = {"dim": self.conv_lora_dim, "alpha": self.conv_alpha} if is_kernel else {}
        options = self.options.module.changed(defaults).changed(own)
        if options.dim <= 0:
            return None
        self._without_effect |= {(name, algorithm) for name in options.without_effect(algorithm)}
        return MODULES[algorithm].from_options(lora_name, layer, options, self.multiplier)

    def _finish_creation(self) -> None:
        for name, algorithm in sorted(self._without_effect):
            LOGGER.warning("Option `%s` has no effect with `%s`.", name, algorithm)
        self._count_classes()
        LOGGER.info("%d adapters: %s.", len(self.loras), self.algo_table)
        if not self.loras:
            LOGGER.warning("No layer of the model is selected: compare the preset with the classes of its modules.")

    def complete(self, weights: WeightFile, multiplier: float) -> None:
        """Finish a network whose adapters are those of a file.

        Raises:
            InputError: there is none.
        """
        name_unmatched(weights.source, weights.layers, self.loras)
        self._count_classes()
        self.set_multiplier(multiplier)

    def _count_classes(self) -> None:
        self.algo_table = dict(Counter(type(module).__name__ for module in self.loras))

    def apply_to(self) -> None:
        """Let the model act with the adapters; weights that were loaded before are theirs now."""
        for module in self.loras:
            module.apply_to()
            self.add_module(module.lora_name, module)
        if self.weights_sd:
            LOGGER.info("Weights are loaded: %s.", self.load_state_dict(self.weights_sd, strict=False))

    def restore(self) -> None:
        """Let the model act as it did before `apply_to`."""
        for module in self.loras:
            module.restore()

    def is_mergeable(self) -> bool:
        """Tell whether no layer is quantised."""
        return all(module.is_mergeable for module in self.loras)

    def merge_to(self, weight: float = 1.0, *, precise: bool = True) -> None:
        """Add the updates to the model's weights for good.

        Args:
            weight: scale of the updates, instead of the network's own.
            precise: without effect: every merge is computed in float64 where the device has it.

        Raises:
            InputError: a weight is quantised, or has a merged adapter.
        """
        for module in self.loras:
            module.merge_to(weight)

    def onfly_merge(self, weight: float = 1.0) -> None:
        """Add the updates to the model's weights until `onfly_restore`."""
        for module in self.loras:
            module.onfly_merge(weight)

    def onfly_restore(self) -> None:
        """Restore the bits that the weights had before `onfly_merge`."""
        for module in self.loras:
            module.onfly_restore()

    def set_multiplier(self, multiplier: float) -> None:
        """Scale every update; 1 as trained, 0 is the base."""
        self.multiplier = multiplier
        for module in self.loras:
            module.multiplier = multiplier

    def apply_max_norm_regularization(self, max_norm_value: float, device: Any) -> tuple[int, Any, Any]:
        """Scale down each update whose norm is larger.

        Returns:
            Number of updates that were scaled, the mean norm and the largest; zeros if none was.
        """
        results = [module.apply_max_norm(max_norm_value, device) for module in self.loras]
        norms = [norm for _, norm in results if norm is not None]
        scaled = sum(bool(each) for each, _ in results)
        if self.loras and not norms:
            LOGGER.warning("No adapter has a factor whose scale could limit a norm.")
        return (scaled, sum(norms) / len(norms), max(norms)) if scaled else (0, 0, 0)

    def prepare_optimizer_params(self, lr: float | None = None) -> list[dict[str, Any]]:
        """Return the parameters as one group for an optimizer, trained from now on."""
        self.requires_grad_(True)
        group: dict[str, Any] = {"params": [each for module in self.loras for each in module.parameters()]}
        return [group if lr is None else {**group, "lr": lr}]

    def enable_gradient_checkpointing(self) -> None:
        """Do nothing: adapters are recomputed with the model's own checkpoints."""

    def prepare_grad_etc(self, *_: object) -> None:
        """Let the parameters be trained."""
        self.requires_grad_(True)

    def on_epoch_start(self, *_: object) -> None:
        """Set the training mode."""
        self.train()

    def on_step_start(self, *_: object) -> None:
        """Do nothing."""

    def get_trainable_params(self, *_: object) -> Iterator[nn.Parameter]:
        """Return the parameters."""
        return self.parameters()

    def load_weights(self, file: str | PathLike[str]) -> dict[str, list[str]]:
        """Load a file's values.

        Returns:
            `missing keys` and `unexpected keys`, each only where there are any.

        Raises:
            InputError: the file cannot be read, or a shape does not fit.
        """
        self.weights_sd = read_weights(file)
        try:
            result = self.load_state_dict(self.weights_sd, strict=False)
        except RuntimeError as error:  # torch's error for shapes
            raise InputError(f"File `{file}`: {error}") from None
        keys = {"missing keys": result.missing_keys, "unexpected keys": result.unexpected_keys}
        return {name: list(values) for name, values in keys.items() if values}

    def save_weights(
        self, file: str | PathLike[str], dtype: torch.dtype | None, metadata: Mapping[str, str] | None
    ) -> None:
        """Write the adapters as a safetensors file, or by any other ending as what `torch.load` reads.

        Args:
            file: its path.
            dtype: of the tensors; None is their own.
            metadata: strings for the header.

        Raises:
            InputError: as for `write_weights`.
        """
        write_weights(file, self.state_dict(), dtype, metadata)
