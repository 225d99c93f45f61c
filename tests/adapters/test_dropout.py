"""Dropout: what is dropped, how often, and how the rest is scaled."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import lycoris
from lycoris.adapters.layers.dropout import Dropout
from tests.adapters.cases import randomize


@pytest.mark.parametrize(("shape", "dims"), [((400, 50), 0), ((20, 50, 6, 5), 2)])
@pytest.mark.parametrize("option", ["delta", "rows"])
def test_what_is_not_dropped_is_scaled_so_that_the_mean_stays(option, shape, dims):
    torch.manual_seed(0)
    out = Dropout(**{option: 0.75})(torch.ones(shape), dims)
    assert set(out.unique().tolist()) == {0.0, 4.0}
    channels = out.movedim(1 if dims else -1, 0).flatten(1)
    whole_channels = bool((channels == channels[:, :1]).all())
    assert whole_channels == (option == "rows")
    assert (channels.mean(1) if option == "delta" else channels[:, 0]).mean() == pytest.approx(1, abs=0.6)


def test_module_dropout_is_the_probability_of_the_base():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4))
    network = lycoris.attach(model, "lora", rank=2, module_dropout=0.9)
    randomize(network)
    network.train()
    x = torch.randn(3, 6)
    network.scale = 0
    base = model(x)
    network.scale = 1
    dropped = [torch.equal(model(x), base) for _ in range(200)]
    assert 0.8 < sum(dropped) / len(dropped) < 0.97
