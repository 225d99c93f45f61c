"""Presets and descriptions as forms of trainers read them."""

from __future__ import annotations

import pytest

from lycoris.adapters import ALGORITHMS
from lycoris.config import PRESET, list_builtin_presets
from lycoris.config_sdk import PresetConfig, PresetValidationError, describe_algo, list_algorithms
from lycoris.drop_in.options import ALGORITHM_OPTIONS, OPTION_TYPES


def test_presets_survive_their_tables():
    assert set(PRESET) == {
        *("full", "full-lin", "attn-mlp", "attn-only", "unet-only"),
        *("unet-transformer-only", "unet-convblock-only", "ia3"),
    }
    for name, preset in list_builtin_presets().items():
        assert PresetConfig.from_dict(preset.to_dict()).to_dict() == PRESET[name]


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ({"targets": []}, "Unknown preset key `targets`"),
        ({"target_name": "conv"}, "`target_name` must be a list of names, but got 'conv'"),
        ({"name_algo_map": {"a": {"algo": "lorra"}}}, "Unknown algorithm `lorra`"),
        ({"module_algo_map": {"A": {"faktor": 2}}}, "Unknown option `faktor`. Did you mean `factor`"),
    ],
)
def test_a_wrong_preset_is_an_error(preset, message):
    with pytest.raises(PresetValidationError, match=message):
        PresetConfig.from_dict(preset)


def test_every_algorithm_is_described_with_its_options():
    assert set(ALGORITHM_OPTIONS) == set(ALGORITHMS)
    for spec in list_algorithms():
        assert set(spec.supported_args) <= set(OPTION_TYPES)
    assert describe_algo("LoKr").supports("factor")
    with pytest.raises(PresetValidationError, match="Unknown algorithm"):
        describe_algo("none")
