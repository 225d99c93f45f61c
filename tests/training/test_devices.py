"""Text, latents, losses and images are computed where the base is: on fake tensors one left on the CPU is an error.

PyTorch without CUDA cannot index fake CUDA tensors, so a device of another name stands for the GPU.
"""

import contextlib
from collections.abc import Iterator
from unittest import mock

import diffusers
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError, FakeTensorMode

import lycoris
from lycoris.bases import open_base, sampling
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.encoders import open_encoder
from lycoris.training import TrainingSettings
from lycoris.training.data.sampler import Batch
from lycoris.training.losses import TrainingLoss, compute_losses

DEVICE = torch.device("lazy:0")
RULES = {
    r".*attn1.*": {"algorithm": "lora", "rank": 2},
    r".*attn2.*": {"algorithm": "loha", "rank": 2},
    r".*\.ff\..*": {"algorithm": "lokr", "factor": 4},
    r".*conv1": {"algorithm": "t-lora", "rank": 2},
    r".*self_attn.*": {"algorithm": "full"},
}


@contextlib.contextmanager
def on_fake_device(mode: FakeTensorMode) -> Iterator[None]:
    """Compute with shapes and devices alone; what would read a value or the device's autocast is answered."""
    finite = mock.Mock(all=mock.Mock(return_value=True), __bool__=mock.Mock(return_value=True))
    with (
        mock.patch.object(torch, "isfinite", return_value=finite),
        mock.patch.object(torch, "is_autocast_enabled", return_value=False),
        mode,
        torch.no_grad(),
    ):
        yield


def move(mode: FakeTensorMode, owner: object) -> None:
    """Replace the tensors of a module, or of the attributes of another object, by fake ones on the device."""

    def fake(tensor: torch.Tensor) -> torch.Tensor:
        with mode:
            return torch.empty(tensor.shape, dtype=tensor.dtype, device=DEVICE)

    if not isinstance(owner, torch.nn.Module):
        for name, value in list(vars(owner).items()):
            if isinstance(value, torch.Tensor):
                setattr(owner, name, fake(value))
        return
    for module in owner.modules():
        for name, value in list(module._parameters.items()):
            if value is not None:
                module._parameters[name] = torch.nn.Parameter(fake(value), requires_grad=False)
        for name, value in list(module._buffers.items()):
            if value is not None:
                module._buffers[name] = fake(value)


@pytest.fixture(scope="module")
def mode():
    return FakeTensorMode()


@pytest.fixture(scope="module")
def base(mode):
    base = open_base("pocket", device="cpu", dtype="float32")
    network = lycoris.attach(base.parts, layers=RULES)
    assert len({adapter.algorithm for adapter in network.adapters.values()}) == len(RULES)
    for owner in (*base.parts.values(), base.vae, base.forward_process):
        move(mode, owner)
    base.device = DEVICE
    return base


def batch_of(base, mask_device):
    with_sizes = torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2, device=DEVICE)
    latents = base.encode_images(torch.rand(2, 3, 64, 64, device=DEVICE) * 2 - 1)
    assert latents.device == DEVICE
    return Batch(
        latents,
        torch.randn_like(latents),
        torch.tensor([3, 500], device=DEVICE),
        base.encode_text(["a cat", "a dog"]),
        with_sizes,
        torch.ones(2, device=DEVICE),
        torch.ones(2, *latents.shape[2:], device=mask_device),
    )


@pytest.mark.parametrize("options", [{"min_snr": 5.0}, {"loss": "huber", "huber_delta": 0.1}], ids=str)
def test_a_loss_is_computed_on_the_base_s_device(base, mode, options):
    with on_fake_device(mode):
        settings = TrainingSettings(steps=3, **options)
        losses = compute_losses(base, [batch_of(base, DEVICE)], [TrainingLoss.from_settings(base, settings)])
        assert [loss.device for loss in losses] == [DEVICE]


def test_a_mask_on_another_device_is_an_error(base, mode):
    with on_fake_device(mode), pytest.raises(FakeTensorDeviceMismatchError):
        loss = TrainingLoss.from_settings(base, TrainingSettings(steps=3))
        compute_losses(base, [batch_of(base, "cpu")], [loss])


def test_images_are_generated_on_the_base_s_device(base, mode):
    devices = []

    def step(scheduler, output, time, sample, **_):
        return ((sample + output * time).to(sample.dtype),)

    with (
        on_fake_device(mode),
        mock.patch.object(diffusers.DDIMScheduler, "step", step),  # the real one reads the time
        mock.patch.object(sampling.copy, "deepcopy", side_effect=lambda scheduler: scheduler),
        mock.patch.object(sampling, "_to_images", side_effect=lambda images: devices.append(images.device) or []),
    ):
        generate(base, ["a cat", "a dog"], [1, 2], GenerationSettings(steps=2, batch_size=2))
    assert devices == [DEVICE]


def test_features_are_computed_on_the_encoder_s_device(mode):
    encoder = open_encoder("clip")
    move(mode, encoder.model)
    encoder.device = DEVICE
    devices = []
    forward = encoder._forward
    encoder._forward = lambda pixels: devices.append(pixels.device) or forward(pixels)
    images = [Image.new("RGB", size) for size in ((64, 64), (64, 40), (80, 64))]
    with on_fake_device(mode):
        assert encoder.image_features(images).shape[0] == 3
        assert encoder.text_features(["a cat"]).shape[0] == 1
    assert set(devices) == {DEVICE}
