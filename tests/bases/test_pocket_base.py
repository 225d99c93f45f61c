"""The embedded base is a base like any other."""

import pytest

import lycoris
from lycoris import pocket
from lycoris.bases import open_base
from lycoris.bases.sampling import GenerationSettings, generate
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
