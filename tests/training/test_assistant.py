"""An assistant acts in training and not in generation."""

import numpy as np
import pytest
import torch
from PIL import Image

import lycoris
from lycoris.bases import open_base
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.errors import InputError
from lycoris.training import CallbackSchedule, Example, ImageCallback, TrainingJob, TrainingSettings, train
from lycoris.training.assistant import find_assistant
from tests.bases.small_transformers import schnell

PROMPTS, SEEDS = ["a red cat"], [3]
GENERATION = GenerationSettings(steps=2, height=32, width=32)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("schnell")
    schnell().save_pretrained(folder)
    return open_base(folder, device="cpu", resolution=32)


@pytest.fixture(scope="module")
def assistant(base, tmp_path_factory):
    file = tmp_path_factory.mktemp("assistant") / "assistant.safetensors"
    network = lycoris.attach(base.parts, "lora", rank=2, seed=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.2)
    network.save(file)
    network.detach()
    return file


@pytest.fixture
def example(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    return Example(tmp_path / "0.png", "a sks cat")


def run(base, example, assistant, folder, steps=1):
    """Losses, and what the trained parameters and the images generated before the first step are."""
    network = lycoris.attach(base.parts, "lora", rank=2, seed=0)
    callback = ImageCallback(base, folder, CallbackSchedule(every=steps), PROMPTS, SEEDS, GENERATION)
    source = None if assistant is None else str(assistant)
    settings = TrainingSettings(steps=steps, batch_size=1, learning_rate=1e-2, caption_dropout=0, assistant=source)
    try:
        losses = train(base, TrainingJob(network, [example], settings, 0, callbacks=[callback])).losses
        return losses, [parameter.detach().clone() for parameter in network.parameters()]
    finally:
        network.detach()


def test_training_has_the_assistant_and_generation_has_not(base, assistant, example, tmp_path):
    weights = {name: value.clone() for name, value in base.parts["transformer"].state_dict().items()}
    plain = generate(base, PROMPTS, SEEDS, GENERATION)[0]
    losses, _ = run(base, example, None, tmp_path / "without")
    helped, parameters = run(base, example, assistant, tmp_path / "with")
    merged = lycoris.load(assistant, base.parts).merge()
    try:
        expected, same = run(base, example, None, tmp_path / "merged")
        assert np.any(np.asarray(generate(base, PROMPTS, SEEDS, GENERATION)[0]) != np.asarray(plain))
    finally:
        merged.detach()
    assert helped == pytest.approx(expected, rel=1e-4)
    assert abs(helped[0] - losses[0]) > 1e-3 * losses[0]
    assert all(torch.allclose(one, other, rtol=1e-3, atol=1e-5) for one, other in zip(parameters, same, strict=True))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "with" / "0" / "00.png")), np.asarray(plain))
    assert base.assistant is None
    assert base.parts["transformer"].state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in base.parts["transformer"].state_dict().items())


def test_the_notice_of_a_distilled_base_names_the_assistant(base, assistant, example, tmp_path, caplog):
    run(base, example, assistant, tmp_path / "with")
    assert "unlearns" not in caplog.text
    run(base, example, None, tmp_path / "without")
    assert "`assistant` of `training`, ostris/FLUX.1-schnell-training-adapter" in caplog.text


def test_an_assistant_that_cannot_be_used_is_refused(base, example, tmp_path):
    with pytest.raises(InputError, match="`assistant` must be a safetensors file or a hub name"):
        find_assistant(str(tmp_path))
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError):
        run(base, example, tmp_path / "other.safetensors", tmp_path / "out")
    assert base.assistant is None
