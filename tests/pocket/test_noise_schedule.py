"""The noise schedule that the pocket's UNet is trained and sampled with."""

import json

import torch
from diffusers import DDPMScheduler

from lycoris.pocket import BASE
from lycoris.pocket.training.unet import NOISE_SCHEDULE, build_scheduler, loss_weights


def test_the_built_scheduler_is_the_committed_one():
    committed = json.loads((BASE / "scheduler" / "scheduler_config.json").read_text())
    built = dict(build_scheduler().config)
    names = {name for name in built if not name.startswith("_")}
    assert {name: built[name] for name in names} == {name: committed[name] for name in names}


def test_loss_weights_fall_with_the_share_of_the_signal_and_have_mean_one():
    """min(1, 5 / (snr + 1)) = min(1, 5 (1 - a)), with a the share of the signal's variance at a timestep."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    expected = (5 * (1 - (1 - betas).cumprod(0))).clamp(max=1)
    weights = loss_weights(DDPMScheduler(**NOISE_SCHEDULE)).double()
    torch.testing.assert_close(weights, expected / expected.mean(), rtol=1e-3, atol=1e-6)
