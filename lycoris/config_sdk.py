"""`lycoris.config_sdk` of trainers, descriptions of presets and algorithms: see `lycoris.drop_in`."""

from lycoris.drop_in.descriptions import AlgoSpec, describe_algo, list_algorithms
from lycoris.drop_in.presets import PRESET_KEYS as VALID_PRESET_KEYS
from lycoris.drop_in.presets import AlgoOverride, PresetConfig, PresetValidationError

__all__ = [
    "VALID_PRESET_KEYS",
    "AlgoOverride",
    "AlgoSpec",
    "PresetConfig",
    "PresetValidationError",
    "describe_algo",
    "list_algorithms",
]
