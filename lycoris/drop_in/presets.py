"""Presets of `lycoris-lora`: which modules get adapters, by class and by name, and options of some of them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lycoris.drop_in.options import ModuleOptions, algorithm_name
from lycoris.errors import InputError, unknown_name_error


class PresetValidationError(InputError):
    """A preset has an unknown key, algorithm or option."""


_MAPS = ("module_algo_map", "name_algo_map")


@dataclass
class AlgoOverride:
    """Algorithm and options of the modules of one class or name; None is the network's algorithm."""

    algo: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> AlgoOverride:
        """Return the override of an entry of a map.

        Raises:
            PresetValidationError: it is not a mapping, or has an unknown algorithm or option.
        """
        if not isinstance(mapping, Mapping):
            raise PresetValidationError(f"An entry of a preset's map must be a table of options, but got {mapping!r}.")
        options = dict(mapping)
        override = cls(options.pop("algo", None), options)
        override.validate()
        return override

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a map."""
        return {**self.options, **({} if self.algo is None else {"algo": self.algo})}

    def validate(self) -> None:
        """Check the algorithm and the options.

        Raises:
            PresetValidationError: one is unknown.
        """
        try:
            ModuleOptions().changed(self.options)
            if self.algo is not None:
                algorithm_name(self.algo)
        except InputError as error:
            raise PresetValidationError(str(error)) from None


@dataclass
class PresetConfig:
    """A preset. What is None stays as it was.

    Attributes:
        enable_conv: adapt convolutions with a kernel larger than 1.
        target_module, target_name: classes and names of modules, for `create_lycoris`.
        unet_target_module, unet_target_name, text_encoder_target_module, text_encoder_target_name: the same for
            `lycoris.kohya`.
        module_algo_map, name_algo_map: class or name → algorithm and options.
        lora_prefix: of names in files, for `create_lycoris`.
        use_fnmatch: names are shell patterns, not regular expressions.
        exclude_name: names of modules that stay without.
    """

    enable_conv: bool | None = None
    target_module: list[str] | None = None
    target_name: list[str] | None = None
    module_algo_map: dict[str, AlgoOverride] = field(default_factory=dict)
    name_algo_map: dict[str, AlgoOverride] = field(default_factory=dict)
    lora_prefix: str | None = None
    use_fnmatch: bool | None = None
    unet_target_module: list[str] | None = None
    unet_target_name: list[str] | None = None
    text_encoder_target_module: list[str] | None = None
    text_encoder_target_name: list[str] | None = None
    exclude_name: list[str] | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, strict: bool = True) -> PresetConfig:
        """Return the preset of a table.

        Args:
            data: key → value, as a TOML file has it.
            strict: without effect: every preset is checked.

        Raises:
            PresetValidationError: an unknown key, algorithm or option, or a list that is none.
        """
        if not isinstance(data, Mapping):
            raise PresetValidationError(f"A preset must be a table, but got {data!r}.")
        values: dict[str, Any] = {}
        for key, value in data.items():
            if key not in PRESET_KEYS:
                raise PresetValidationError(str(unknown_name_error("preset key", key, PRESET_KEYS)))
            if key in _MAPS:
                values[key] = {name: AlgoOverride.from_mapping(entry) for name, entry in (value or {}).items()}
            elif key.endswith(("_module", "_name")) and not _is_list_of_names(value):
                raise PresetValidationError(f"Preset key `{key}` must be a list of names, but got {value!r}.")
            else:
                values[key] = list(value) if isinstance(value, (list, tuple, set)) else value
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the preset as a table, without the keys that are None or empty maps."""
        maps = {key: {name: each.to_dict() for name, each in getattr(self, key).items()} for key in _MAPS}
        plain = {key: getattr(self, key) for key in PRESET_KEYS if key not in _MAPS and getattr(self, key) is not None}
        return {key: list(v) if isinstance(v, list) else v for key, v in plain.items()} | {
            key: entries for key, entries in maps.items() if entries
        }


PRESET_KEYS = tuple(each.name for each in fields(PresetConfig))


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, (list, tuple, set)) and all(isinstance(each, str) for each in value)


def read_preset(preset: object) -> dict[str, Any]:
    """Return a preset by its name, its TOML file or its own table.

    Raises:
        InputError: there is none, the file is not TOML, or its content is not a preset.
    """
    if isinstance(preset, Mapping):
        return PresetConfig.from_dict(preset).to_dict()
    if preset in PRESET:
        return PRESET[str(preset)]
    path = Path(str(preset))
    if not path.is_file():
        raise InputError(f"Preset `{preset}` is neither a TOML file nor one of {', '.join(PRESET)}.")
    try:
        return PresetConfig.from_dict(tomllib.loads(path.read_text(encoding="utf-8"))).to_dict()
    except (OSError, ValueError) as error:
        raise InputError(f"Preset `{preset}` cannot be read: {error}") from None


_TRANSFORMER_BLOCKS = [
    *("Transformer2DModel", "HunYuanDiTBlock", "DoubleStreamBlock", "SingleStreamBlock", "SingleDiTBlock"),
    *("MMDoubleStreamBlock", "MMSingleStreamBlock", "WanAttentionBlock", "HunyuanVideoTransformerBlock"),
    *("HunyuanVideoSingleTransformerBlock", "JointTransformerBlock", "FinalLayer", "QwenImageTransformerBlock"),
    *("LensTransformerBlock", "Ideogram4TransformerBlock", "ZImageTransformerBlock", "AceStepEncoderLayer"),
    *("AceStepDiTLayer", "TextFusionBlock", "Block", "PatchEmbed", "TimestepEmbedding", "LLMAdapterTransformerBlock"),
]
_UNET_BLOCKS = ["ResnetBlock2D", "Downsample2D", "Upsample2D"]
_TIME_EMBEDDING = ["time_embedding.linear_1", "time_embedding.linear_2"]
_CONVOLUTIONS = ["conv_in", "conv_out"]
_GEMMA_ATTENTION = ["Gemma2Attention", "Gemma2FlashAttention2", "Gemma2SdpaAttention"]
_QWEN = ["Qwen3Attention", "Qwen3FlashAttention2", "Qwen3SdpaAttention", "Qwen3MLP"]
_TEXT = [
    "CLIPAttention",
    "CLIPSdpaAttention",
    "CLIPMLP",
    "MT5Block",
    "BertLayer",
    *_GEMMA_ATTENTION,
    "Gemma2MLP",
    *_QWEN,
]
_TEXT_ATTENTION = ["CLIPAttention", "CLIPSdpaAttention", "BertAttention", "MT5LayerSelfAttention", *_GEMMA_ATTENTION]


def _preset(
    conv: bool, unet: Iterable[str], unet_names: Iterable[str], text: Iterable[str], text_names: Iterable[str] = ()
) -> PresetConfig:
    return PresetConfig(
        enable_conv=conv,
        unet_target_module=list(unet),
        unet_target_name=list(unet_names),
        text_encoder_target_module=list(text),
        text_encoder_target_name=list(text_names),
    )


_IA3 = _preset(False, [], ["to_k", "to_v", "ff.net.2"], [], ["k_proj", "v_proj", "mlp.fc2"])
_IA3.name_algo_map = {name: AlgoOverride(options={"train_on_input": True}) for name in ("mlp.fc2", "ff.net.2")}
FULL = _preset(True, [*_TRANSFORMER_BLOCKS, *_UNET_BLOCKS], [*_CONVOLUTIONS, *_TIME_EMBEDDING], _TEXT)
BUILTIN_PRESETS: dict[str, PresetConfig] = {
    "full": FULL,
    "full-lin": _preset(False, [*_TRANSFORMER_BLOCKS, "ResnetBlock2D"], _TIME_EMBEDDING, _TEXT),
    "attn-mlp": _preset(False, _TRANSFORMER_BLOCKS, [], _TEXT),
    "attn-only": _preset(False, ["CrossAttention", "SelfAttention"], [], _TEXT_ATTENTION),
    "unet-only": _preset(True, [*_TRANSFORMER_BLOCKS, *_UNET_BLOCKS], [*_CONVOLUTIONS, *_TIME_EMBEDDING], []),
    "unet-transformer-only": _preset(False, _TRANSFORMER_BLOCKS, [], []),
    "unet-convblock-only": _preset(True, _UNET_BLOCKS, _CONVOLUTIONS, []),
    "ia3": _IA3,
}
LAYER_CLASSES = ["Linear", "Conv1d", "Conv2d", "Conv3d", "GroupNorm", "LayerNorm"]
"""What `create_lycoris` selects without a preset's `target_module`."""
KNOWN_TARGETS = frozenset(LAYER_CLASSES) | frozenset(
    name
    for preset in BUILTIN_PRESETS.values()
    for key, names in preset.to_dict().items()
    if "target" in key
    for name in names
)
"""Classes and names that are in a preset of every model."""
PRESET: dict[str, dict[str, Any]] = {name: preset.to_dict() for name, preset in BUILTIN_PRESETS.items()}
"""Name → table."""


def list_builtin_presets() -> dict[str, PresetConfig]:
    """Return the presets by name."""
    return dict(BUILTIN_PRESETS)
