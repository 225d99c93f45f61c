"""The embedded base is a base like any other."""

import pytest
import torch

import lycoris
from lycoris import pocket
from lycoris.bases import load_scheduler_config, open_base
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.pocket.training.unet import NOISE_SCHEDULE
from lycoris.training import Example, TrainingJob, TrainingSettings, train

pytestmark = pytest.mark.skipif(not (pocket.BASE / "unet").is_dir(), reason="the weights are not in this tree")


def test_the_pocket_base_generates_and_is_trained(tmp_path):
    base = open_base("pocket", device="cpu")
    assert (base.family, base.resolution, base.source) == ("stable-diffusion", 64, "pocket")
    image = generate(base, ["a red cat in the snow"], [1000], GenerationSettings(steps=2))[0]
    assert image.size == (64, 64)
    image.resize((96, 64)).save(tmp_path / "wide.png")

    network = lycoris.attach(base.parts, algorithm="lokr", preset="full", seed=0)
    settings = TrainingSettings(steps=2, batch_size=2, learning_rate=1e-3)
    result = train(base, TrainingJob(network, [Example(tmp_path / "wide.png", "a sks cat")], settings, seed=0))
    assert result.trains_text_encoder
    assert result.bucket_counts == {"80x48": 1}
    assert all(0 < loss < 10 for loss in result.losses)


def test_the_pockets_noise_schedule_is_that_of_stable_diffusion_with_v_prediction():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    process = open_base("pocket", device="cpu").forward_process
    assert process.prediction_type == "v_prediction"
    torch.testing.assert_close(process.alphas_cumprod.double(), (1 - betas).cumprod(0), rtol=1e-4, atol=1e-6)
    assert {name: load_scheduler_config("pocket")[name] for name in NOISE_SCHEDULE} == NOISE_SCHEDULE
