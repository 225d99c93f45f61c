"""Parameters counted on shapes alone equal those of an adapter on the loaded base."""

from __future__ import annotations

import pytest

import lycoris
from lycoris.bases import open_base
from lycoris.bases.parameter_count import count_parameters, meta_parts
from lycoris.errors import InputError


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "lora", "rank": 3, "preset": "full"},
        {"algorithm": "lokr", "factor": 8, "preset": "attn-mlp"},
        {"algorithm": "full", "preset": "attn-only"},
    ],
)
def test_the_count_equals_that_on_the_loaded_base(settings: dict) -> None:
    parts = meta_parts("pocket")
    base = open_base("pocket", device="cpu", dtype="float32")
    network = lycoris.attach(base.parts, **settings)
    expected = sum(parameter.numel() for parameter in network.parameters())
    network.detach()
    assert count_parameters(parts, {"alpha": None, **settings}) == expected
    assert all(parameter.device.type == "meta" for part in parts.values() for parameter in part.parameters())
    assert count_parameters(parts, settings) == expected  # nothing is left on the parts


def test_a_rank_that_no_layer_allows_is_an_error() -> None:
    with pytest.raises(InputError, match="rank"):
        count_parameters(meta_parts("pocket"), {"algorithm": "lora", "rank": 10_000, "preset": "full"})
