"""Bases with weights in 4 and 8 bits: precision of each part, digest, training, and what is refused."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

import lycoris
from lycoris import bases
from lycoris.bases import quantization
from lycoris.bases.quantization import BYTES_PER_WEIGHT, MIN_WEIGHTS, QUANTIZED, Precisions, quantize
from lycoris.errors import InputError

INSTALLED = [
    pytest.param(name, marks=pytest.mark.skipif(not importlib.util.find_spec(package), reason=f"needs {package}"))
    for name, package in QUANTIZED.items()
]
ERROR = {"nf4": 0.15, "int8": 0.01, "fp8": 0.05}
"""Relative error of a layer's output."""


class _Part(nn.Module):
    _keep_in_fp32_modules = ("exact",)

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(128, 64)
        self.exact = nn.Linear(64, 128)
        self.small = nn.Linear(128, 8)

    def forward(self, x):
        return self.small(self.exact(torch.tanh(self.layer(x))))


def _bytes(tensor):
    state = getattr(tensor, "quant_state", None)
    if state is not None:
        return tensor.numel() + state.absmax.numel() + 4 * state.state2.absmax.numel()
    names = tensor.__tensor_flatten__()[0] if hasattr(tensor, "__tensor_flatten__") else ()
    codes = max((getattr(tensor, name) for name in names), key=lambda each: each.numel())
    return codes.numel() * codes.element_size()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("precision", INSTALLED)
def test_large_layers_have_fewer_bits_and_gradients_pass_them(precision, dtype):
    torch.manual_seed(0)
    part = _Part().to(dtype).requires_grad_(False).eval()
    x = torch.randn(7, 128, dtype=dtype, requires_grad=True)
    (expected,) = torch.autograd.grad(part(x).float().sum(), x)
    weight, reference = part.layer.weight.numel(), part(x).detach().float()
    with torch.no_grad():
        quantize(part, precision, torch.device("cpu"))
        output = part(x).float()  # without gradients first, as in validation
    assert not output.isnan().any()
    assert (output - reference).norm() < ERROR[precision] * reference.norm()
    (gradient,) = torch.autograd.grad(part(x).float().sum(), x)
    assert (gradient - expected).float().norm() < 2 * ERROR[precision] * expected.float().norm()
    assert _bytes(part.layer.weight) == pytest.approx(weight * BYTES_PER_WEIGHT[precision], rel=0.01)
    for layer in (part.exact, part.small):
        assert type(layer.weight) is nn.Parameter
        assert layer.weight.dtype == dtype
    assert part.small.weight.numel() < MIN_WEIGHTS <= part.exact.weight.numel()


@pytest.mark.parametrize("precision", INSTALLED)
def test_an_adapter_trains_on_a_base_whose_denoiser_alone_is_quantised(precision):
    base = bases.open_base("pocket", device="cpu", precision={"denoiser": precision})
    assert base.digest == bases.digest("pocket", precision={"denoiser": precision}) != bases.digest("pocket")
    plain = {type(module.weight) for module in base.parts["text_encoder"].modules() if isinstance(module, nn.Linear)}
    assert plain == {nn.Parameter}
    with torch.no_grad():
        conditioning = base.encode_text(["a bear"])
    latents, times = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    with torch.no_grad():
        before = base.predict(latents, times, conditioning)
    network = lycoris.attach(base.parts, "lora", preset="unet-attn-mlp", rank=2, seed=0)
    base.predict(latents, times, conditioning).square().mean().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
    network.detach()
    with torch.no_grad():
        assert torch.equal(base.predict(latents, times, conditioning), before)


def test_plain_precisions_are_those_of_denoiser_and_text_encoders_apart():
    base = bases.open_base("pocket", device="cpu", precision={"denoiser": "fp32", "text_encoders": "bf16"})
    assert {parameter.dtype for parameter in base.parts["unet"].parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in base.parts["text_encoder"].parameters()} == {torch.bfloat16}
    assert base.dtype is torch.float32
    with torch.no_grad():
        assert base.encode_text(["a bear"]).hidden_states.dtype is torch.float32


def test_the_digest_of_a_base_without_precision_is_as_before():
    assert bases.digest("pocket", precision={}) == bases.digest("pocket", precision=None) == bases.digest("pocket")
    each = {bases.digest("pocket", precision=one) for one in ("bf16", {"denoiser": "bf16"}, {"text_encoders": "bf16"})}
    assert len(each) == 3


def test_what_precision_cannot_be(monkeypatch):
    with pytest.raises(InputError, match=r"Unknown precision.*Did you mean `nf4`"):
        bases.digest("pocket", precision="nf44")
    with pytest.raises(InputError, match=r"Unknown key of .precision."):
        bases.digest("pocket", precision={"unet": "bf16"})
    with pytest.raises(InputError, match="`dtype` must be left out where `precision` is bf16, but got 'float16'"):
        bases.open_base("pocket", device="cpu", dtype="float16", precision="bf16")
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: None)
    for precision, package in QUANTIZED.items():
        with pytest.raises(InputError, match=f"`precision` is `{precision}`, which needs the package {package}: `pip"):
            Precisions.of(precision)
