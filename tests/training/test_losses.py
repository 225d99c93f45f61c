"""Losses: noised latents, targets, and the cost of errors."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

import lycoris
from lycoris.bases import open_base
from lycoris.bases.noise import DiscreteDiffusion
from lycoris.errors import InputError
from lycoris.training import TrainingJob, TrainingSettings, train
from lycoris.training.data.caption_encoding import CaptionEncoder
from lycoris.training.data.image_dataset import ImageDataset
from lycoris.training.data.sampler import BatchSampler
from lycoris.training.losses import LOSS_FUNCTIONS, TrainingLoss, compute_losses
from lycoris.training.seeding import derive_generator
from tests.bases.small_base import save_small_base


def settings(**given):
    return TrainingSettings(steps=1, batch_size=3, **given)


def batch_of(base, examples, options):
    images = ImageDataset(base, [example.image for example in examples])
    texts = CaptionEncoder(base, [example.caption for example in examples], trainable=False)
    (batch,) = BatchSampler(images, texts, base.forward_process, options, seed=7)(0)
    return batch


@pytest.fixture(scope="module")
def v_base(tmp_path_factory):
    folder = save_small_base(tmp_path_factory.mktemp("v") / "base", prediction_type="v_prediction")
    return open_base(folder, device="cpu")


@pytest.mark.parametrize("name", ["huber", "smooth_l1"])
@pytest.mark.parametrize("delta", [0.03, 0.1, 1.0])
def test_a_pseudo_huber_loss_is_that_of_the_diffusers_trainers(name, delta):
    """As `conditional_loss` of their text-to-image examples writes them."""
    draws = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 50, generator=draws)
    factor = 2 * delta if name == "huber" else 2
    expected = factor * (torch.sqrt((prediction - target) ** 2 + delta**2) - delta)
    torch.testing.assert_close(LOSS_FUNCTIONS[name](prediction - target, delta), expected)


def test_huber_is_the_squared_error_near_nothing_and_straight_far_out():
    errors = torch.tensor([1e-3, 100.0], dtype=torch.float64)
    near, far = LOSS_FUNCTIONS["huber"](errors, 0.1)
    assert near == pytest.approx(1e-6, rel=1e-3)
    assert far == pytest.approx(2 * 0.1 * 100, rel=2e-3)


def test_the_loss_of_an_image_is_its_mean_cost(base, squares):
    options = settings(loss="huber", huber_delta=0.2)
    batch = batch_of(base, squares, options)
    (found,) = compute_losses(base, [batch], [TrainingLoss.from_settings(base, options)])
    noisy = base.forward_process.add_noise(batch.latents, batch.noise, batch.timesteps)
    errors = base.predict(noisy, batch.timesteps, batch.conditioning) - batch.noise
    torch.testing.assert_close(found, (0.4 * ((errors**2 + 0.04).sqrt() - 0.2)).mean((1, 2, 3)))


def test_runs_of_different_losses_go_through_the_base_as_one(base, squares):
    ways = [settings(), settings(loss="smooth_l1"), settings(min_snr=5.0)]
    batches = [batch_of(base, squares, way) for way in ways]
    losses = [TrainingLoss.from_settings(base, way) for way in ways]
    together = compute_losses(base, batches, losses)
    for batch, loss, found in zip(batches, losses, together, strict=True):
        torch.testing.assert_close(found, compute_losses(base, [batch], [loss])[0])


def test_an_offset_is_one_number_a_channel_and_leaves_all_other_random_numbers(base, squares):
    plain, shifted = (batch_of(base, squares, settings(noise_offset=offset)) for offset in (0.0, 0.1))
    difference = shifted.noise - plain.noise
    assert torch.equal(shifted.latents, plain.latents)
    assert torch.equal(shifted.timesteps, plain.timesteps)
    torch.testing.assert_close(difference, difference[..., :1, :1].expand_as(difference))
    stream = derive_generator(7, "offset", 0)
    torch.testing.assert_close(
        difference[..., :1, :1], 0.1 * torch.randn(*difference.shape[:2], 1, 1, generator=stream)
    )
    numbers = difference[..., 0, 0]
    assert len(numbers.unique()) == numbers.numel()
    assert 0.03 < numbers.std() < 0.3


def test_a_stretched_schedule_is_that_of_diffusers(v_base):
    config = {**v_base.scheduler_config, "rescale_betas_zero_snr": True}
    stated = DiscreteDiffusion.from_config(config, torch.device("cpu"))
    computed = v_base.forward_process.zero_terminal_snr()
    assert computed.alphas_cumprod[-1] == stated.alphas_cumprod[-1] == 0
    assert computed.alphas_cumprod[0] == pytest.approx(float(v_base.forward_process.alphas_cumprod[0]))
    torch.testing.assert_close(computed.alphas_cumprod, stated.alphas_cumprod, rtol=1e-4, atol=1e-6)


def test_the_last_of_a_stretched_schedule_is_pure_noise(v_base, squares):
    loss = TrainingLoss.from_settings(v_base, settings(zero_terminal_snr=True))
    batch = dataclasses.replace(batch_of(v_base, squares, settings()), timesteps=torch.full((3,), 999))
    assert torch.equal(loss.noisy_latents(batch), batch.noise)
    assert not torch.equal(TrainingLoss.from_settings(v_base, settings()).noisy_latents(batch), batch.noise)
    assert loss(-batch.latents, batch).max() == 0  # v is -x_0 there
    assert F.mse_loss(loss.forward_process.target(batch.latents, batch.noise, batch.timesteps), -batch.latents) == 0


def test_a_stretched_schedule_can_be_trained_on(v_base, squares):
    found = []
    for zero in (False, True):
        network = lycoris.attach(v_base.parts, seed=1)
        options = TrainingSettings(steps=3, batch_size=3, zero_terminal_snr=zero, min_snr=5.0)
        found.append(train(v_base, TrainingJob(network, squares, options, seed=7)).losses)
        network.detach()
    assert len(found[0]) == 3
    assert all(one != other for one, other in zip(*found, strict=True))


def test_a_base_that_predicts_noise_has_no_stretched_schedule(base, squares):
    network = lycoris.attach(base.parts, seed=1)
    with pytest.raises(InputError, match="`zero_terminal_snr` needs a base that predicts `v_prediction`"):
        train(base, TrainingJob(network, squares, settings(zero_terminal_snr=True), seed=7))
