"""Flow matching against diffusers' own scheduler."""

import pytest
import torch

from lycoris.bases import DiscreteDiffusion, FlowMatching
from lycoris.errors import InputError

CONFIG = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}


@pytest.fixture
def pair():
    draws = torch.Generator().manual_seed(0)
    return torch.randn(5, 16, 4, 6, generator=draws), torch.randn(5, 16, 4, 6, generator=draws)


def test_noising_equals_the_diffusers_scheduler(pair):
    from diffusers import FlowMatchEulerDiscreteScheduler

    clean, noise = pair
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(CONFIG)
    times = scheduler.timesteps[[0, 100, 500, 900, 999]]
    expected = scheduler.scale_noise(clean, times, noise)
    torch.testing.assert_close(FlowMatching.from_config(CONFIG).add_noise(clean, noise, times), expected)


def test_the_target_is_the_direction_of_the_line(pair):
    clean, noise = pair
    flow, early, late = FlowMatching(), torch.full((5,), 300.0), torch.full((5,), 301.0)
    step = flow.add_noise(clean, noise, late) - flow.add_noise(clean, noise, early)
    torch.testing.assert_close(step * 1000, flow.target(clean, noise, early), rtol=1e-2, atol=1e-2)


def test_a_step_of_the_scheduler_with_the_target_lands_on_the_image(pair):
    from diffusers import FlowMatchEulerDiscreteScheduler

    clean, noise = pair
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(CONFIG)
    scheduler.set_timesteps(4)
    latents, flow = noise, FlowMatching.from_config(CONFIG)
    for time in scheduler.timesteps:
        latents = scheduler.step(flow.target(clean, noise, time.expand(len(clean))), time, latents, return_dict=False)[
            0
        ]
    torch.testing.assert_close(latents, clean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_times_are_the_shifted_logistic_of_normal_numbers(shift):
    flow = FlowMatching(shift=shift)
    times = flow.sample_timesteps(20000, torch.Generator().manual_seed(0))
    assert 0 < times.min() < times.max() < 1000
    middle = shift * 0.5 / (1 + (shift - 1) * 0.5)
    assert flow.noise_level(times).median() == pytest.approx(middle, abs=0.01)
    back = flow.noise_level(times) / (shift - (shift - 1) * flow.noise_level(times))
    assert back.logit().std() == pytest.approx(1, abs=0.02)
    assert torch.equal(times, flow.sample_timesteps(20000, torch.Generator().manual_seed(0)))


def test_there_is_no_signal_to_noise_weight():
    with pytest.raises(InputError, match="`min_snr` is for bases that predict noise"):
        FlowMatching().min_snr_weight(torch.tensor([1.0]), 5.0)


@pytest.mark.parametrize(
    "wrong",
    [{"shift": 0}, {"num_train_timesteps": -1}, {"use_dynamic_shifting": True}, {"_class_name": "DDIMScheduler"}],
)
def test_other_schedules_are_refused(wrong):
    with pytest.raises(InputError, match="FlowMatch" if "_class_name" in wrong else next(iter(wrong))):
        FlowMatching.from_config({**CONFIG, **wrong})


def test_betas_and_flow_are_not_mixed_up():
    with pytest.raises(InputError, match="have a schedule of betas, but is FlowMatchEuler"):
        DiscreteDiffusion.from_config(CONFIG, torch.device("cpu"))


def test_discrete_timesteps_are_uniform_and_have_a_noise_level():
    noise = DiscreteDiffusion(torch.linspace(0.99, 0.01, 1000), "epsilon")
    draws = torch.Generator().manual_seed(3)
    expected = torch.randint(1000, (7,), generator=torch.Generator().manual_seed(3))
    assert torch.equal(noise.sample_timesteps(7, draws), expected)
    assert noise.noise_level(torch.tensor([0, 999])).tolist() == [0, 1]


def test_the_noise_cannot_be_predicted_from_pure_noise():
    signal = torch.tensor([0.9, 0.5, 0.0])
    assert DiscreteDiffusion(signal, "v_prediction").min_snr_weight(torch.arange(3), 5.0).isfinite().all()
    with pytest.raises(InputError, match="rescale_betas_zero_snr"):
        DiscreteDiffusion(signal, "epsilon")
