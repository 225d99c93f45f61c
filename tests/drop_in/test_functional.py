"""`lycoris.functional`: the update, and its output without the update's weight, are those of the adapters."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lycoris import InputError
from lycoris.adapters.algorithms import ALGORITHMS
from lycoris.functional import boft, diag_oft, locon, loha, lokr

LAYERS = {
    "linear": (functional.linear, (16, 8), (3, 8), {}),
    "conv2d": (functional.conv2d, (16, 8, 3, 3), (2, 8, 6, 6), {"padding": 1, "stride": (2, 2)}),
}
NAMES = {
    locon: ("lora", ("lora_down.weight", "lora_up.weight", "lora_mid.weight")),
    loha: ("loha", ("hada_w1_b", "hada_w1_a", "hada_w2_b", "hada_w2_a", "hada_t1", "hada_t2")),
    lokr: ("lokr", ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def changed(factors):
    return tuple(None if each is None else each + 0.1 * torch.randn_like(each) for each in factors)


@pytest.mark.parametrize("layer", list(LAYERS))
@pytest.mark.parametrize("tucker", [False, True])
@pytest.mark.parametrize("module", list(NAMES), ids=["locon", "loha", "lokr"])
def test_low_ranks(module, tucker, layer):
    function, shape, size, arguments = LAYERS[layer]
    weight, x = torch.randn(shape), torch.randn(size)
    factors = changed(module.weight_gen(weight, 2, tucker))
    algorithm, names = NAMES[module]
    tensors = {name: each for name, each in zip(names, factors, strict=True) if each is not None}
    for name in ("lokr_w2_b", "hada_w1_b", "hada_w2_b"):  # flat in files
        tensors |= {name: tensors[name].flatten(1)} if name in tensors else {}
    expected = ALGORITHMS[algorithm].reference_delta({**tensors, "alpha": torch.tensor(2.0)}, weight)
    delta = module.diff_weight(*factors, gamma=2.0 if algorithm == "lokr" else 1.0)
    torch.testing.assert_close(delta, expected, atol=1e-5, rtol=1e-5)
    for output in ((), (function(x, weight, **arguments),)):
        result = module.bypass_forward_diff(x, *output, *factors, extra_args=arguments, gamma=3.0)
        scaled = module.diff_weight(*factors, gamma=3.0)
        torch.testing.assert_close(result, function(x, scaled, **arguments), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", list(LAYERS))
@pytest.mark.parametrize("module", [diag_oft, boft], ids=["diag-oft", "boft"])
def test_rotations(module, layer):
    function, shape, size, arguments = LAYERS[layer]
    weight, x = torch.randn(shape), torch.randn(size)
    factors = changed(module.weight_gen(weight, 4, rescale=True))
    delta, output = module.diff_weight(weight, *factors), function(x, weight, **arguments)
    tensors = {"oft_blocks": factors[0], "rescale": factors[1], "alpha": torch.tensor(0.0)}
    algorithm = "diag-oft" if module is diag_oft else "boft"
    torch.testing.assert_close(delta, ALGORITHMS[algorithm].reference_delta(tensors, weight), atol=1e-5, rtol=1e-5)
    result = module.bypass_forward_diff(x, output, *factors, need_transpose=weight.dim() > 2)
    torch.testing.assert_close(result, function(x, delta, **arguments), atol=1e-4, rtol=1e-4)


def test_what_is_not_known_is_named():
    factors = locon.weight_gen(torch.randn(8, 4), 2)
    with pytest.raises(InputError, match="must have 3 factors, but got 2"):
        locon.bypass_forward_diff(torch.randn(1, 4), *factors[:2])
    with pytest.raises(InputError, match="`extra_args` has `pad`"):
        locon.bypass_forward_diff(torch.randn(1, 4), *factors, extra_args={"pad": 1})
