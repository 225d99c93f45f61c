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


@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_times_are_shifted_by_image_size_as_the_scheduler_does(kind):
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    config = {**CONFIG, "use_dynamic_shifting": True, "time_shift_type": kind, "base_shift": 0.6}
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)
    flow = FlowMatching.from_config(config).with_sizes(16, 1024)
    unshifted = FlowMatching().sample_timesteps(3, torch.Generator().manual_seed(0)) / 1000
    sizes = [(1024, 1024), (512, 768), (256, 256)]
    times = flow.sample_timesteps(3, torch.Generator().manual_seed(0), sizes)
    for (width, height), time, fraction in zip(sizes, times, unshifted, strict=True):
        mu = calculate_shift(width * height // 256, 256, 4096, 0.6, 1.15)
        assert time / 1000 == pytest.approx(float(scheduler.time_shift(mu, 1.0, fraction)), rel=1e-5)
    largest = flow.sample_timesteps(3, torch.Generator().manual_seed(0))
    assert largest[0] == times[0]
    assert largest[2] > times[2]


def test_a_run_has_its_own_density_and_shift():
    generator = torch.Generator()
    flow = FlowMatching.from_config({**CONFIG, "use_dynamic_shifting": True}).with_times("uniform", {}, 2.0)
    times = flow.sample_timesteps(5, generator.manual_seed(1)) / 1000
    fraction = torch.rand(5, generator=generator.manual_seed(1))
    torch.testing.assert_close(times, 2 * fraction / (1 + fraction))
    unchanged = FlowMatching(shift=3.0).with_times(None, {}, None)
    assert unchanged == FlowMatching(shift=3.0)


def test_losses_are_weighted_by_time():
    times = torch.tensor([0.0, 250.0, 1000.0])
    weights = FlowMatching().loss_weight(times, "sigma_sqrt")
    torch.testing.assert_close(weights, torch.tensor([1e6, 16.0, 1.0]))
    weights = FlowMatching().loss_weight(times, "cosmap") * torch.pi / 2
    torch.testing.assert_close(weights, torch.tensor([1.0, 1.6, 1.0]), rtol=1e-2, atol=1e-2)
    with pytest.raises(InputError, match="Did you mean `cosmap`"):
        FlowMatching().loss_weight(times, "cosmos")
    with pytest.raises(InputError, match="`loss_weighting` is for flow-matching bases"):
        DiscreteDiffusion(torch.tensor([0.9, 0.5]), "epsilon").loss_weight(times.long(), "cosmap")


def test_there_is_no_signal_to_noise_weight():
    with pytest.raises(InputError, match="`min_snr` is for bases that predict noise"):
        FlowMatching().min_snr_weight(torch.tensor([1.0]), 5.0)


@pytest.mark.parametrize(
    "wrong",
    [{"shift": 0}, {"num_train_timesteps": -1}, {"_class_name": "DDIMScheduler"}],
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
