"""Adapters trained together in one process: each learns what it learns alone."""

import json

import pytest
import torch
from safetensors.torch import load_file

from lycoris import bases, pocket
from tasks.artifacts import ImageSet, ModelRef, RunContext, RunSpec
from tasks.runtime.adapter_training import ADAPTER_FILE
from tasks.train import co_train_adapters, train_adapter
from tasks.trainings import SUMMARY_FILE, AdapterSettings, TrainingRequest

TRAINING = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3}
IMAGES = tuple(sorted((pocket.IMAGES / "movie_characters" / "grumble").glob("*.png"))[:4])


def request(seed, **training):
    return TrainingRequest(
        spec=RunSpec("grumble", "lora", "none", seed, checkpoint_unit="step"),
        base=ModelRef("pocket", bases.digest("pocket")),
        images=ImageSet(IMAGES, "0"),
        captions=("a ohw bear",) * len(IMAGES),
        settings=AdapterSettings("lora", "attn-mlp", rank=2, alpha=2.0, training={**TRAINING, **training}),
        checkpoints=(2,),
    )


def weights(file):
    return torch.cat([value.flatten() for _, value in sorted(load_file(file).items())])


def new_context(folder):
    folder.mkdir()
    return RunContext(folder, device="cpu")


def test_adapters_trained_together_equal_those_trained_alone(tmp_path):
    alone, together = new_context(tmp_path / "alone"), new_context(tmp_path / "together")
    requests = [request(0), request(1)]
    expected = [train_adapter.fn(alone, each) for each in requests]
    co_train_adapters.fn(together, "lora", requests)
    (unfinished,) = {path.parent for path in together.store.glob("unfinished/*/") if path.is_dir()}
    assert len(list(unfinished.iterdir())) == 2
    adapters = [train_adapter.fn(together, each) for each in requests]
    assert not list(unfinished.iterdir())
    for one, other in zip(expected, adapters, strict=True):
        assert one.final.key == other.final.key
        for checkpoint in (None, 2):
            values, others = (weights(each.at_checkpoint(checkpoint).folder / ADAPTER_FILE) for each in (one, other))
            assert (values - others).norm() < 1e-3 * values.norm()
        losses, others = (json.loads((each.final.folder / SUMMARY_FILE).read_text())["losses"] for each in (one, other))
        assert losses == pytest.approx(others, rel=1e-4)


def test_an_adapter_that_diverges_fails_alone(tmp_path):
    context = new_context(tmp_path / "store")
    diverging, converging = request(0, learning_rate=1e30, clip_norm=None), request(1)
    co_train_adapters.fn(context, "lora", [diverging, converging])
    assert train_adapter.fn(context, converging).final.folder.is_dir()
    with pytest.raises(Exception, match="Lower `learning_rate`"):
        train_adapter.fn(context, diverging)


def test_finished_adapters_are_not_trained_again(tmp_path, monkeypatch):
    context = new_context(tmp_path / "store")
    requests = [request(0), request(1)]
    co_train_adapters.fn(context, "lora", requests)
    for each in requests:
        train_adapter.fn(context, each)
    monkeypatch.setattr("tasks.train.run_trainings", lambda *_: pytest.fail("trained again"))
    co_train_adapters.fn(context, "lora", requests)
    assert all(train_adapter.fn(context, each).final.cached for each in requests)
