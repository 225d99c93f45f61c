"""`lycoris.config` of trainers, the presets: see `lycoris.drop_in`."""

from lycoris.drop_in.presets import PRESET, AlgoOverride, PresetConfig, list_builtin_presets

__all__ = ["PRESET", "AlgoOverride", "PresetConfig", "list_builtin_presets"]
