"""Two processes that train an adapter together store what one process stores."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flows.config.experiment import Experiment
from flows.config.gpus import training_processes
from lycoris import bases, pocket
from lycoris.errors import InputError
from tasks.artifacts import ImageSet, ModelRef, RunContext, RunSpec
from tasks.runtime.adapter_training import AdapterTraining
from tasks.runtime.process_group import train_on_processes
from tasks.runtime.progress import StepProgress
from tasks.train import train_adapter
from tasks.trainings import AdapterSettings, TrainingRequest, TrainingSummary
from tests.bases.small_base import save_small_base

IMAGES = tuple(sorted((pocket.IMAGES / "movie_characters" / "grumble").glob("*.png"))[:4])
TRAINING = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3, "caption_dropout": 0.0}


@pytest.fixture(scope="module")
def request_(tmp_path_factory):
    folder = str(save_small_base(tmp_path_factory.mktemp("bases") / "base"))
    return TrainingRequest(
        spec=RunSpec("grumble", "lora", "none", 0, checkpoint_unit="step"),
        base=ModelRef(folder, bases.digest(folder)),
        images=ImageSet(IMAGES, "0"),
        captions=("a ohw bear",) * len(IMAGES),
        settings=AdapterSettings("lora", "attn-mlp", rank=2, alpha=2.0, training=TRAINING),
        checkpoints=(2,),
    )


def stored(request, store, processes):
    """The folders of the adapter at its end and after two steps."""
    store.mkdir()
    trained = train_adapter.fn(RunContext(store, device="cpu", processes=processes), request)
    return [trained.final.folder, trained.checkpoints[2].folder]


def assert_same(folders, others):
    for folder, other in zip(folders, others, strict=True):
        ours, theirs = (load_file(each / "adapter.safetensors") for each in (folder, other))
        assert ours.keys() == theirs.keys()
        learned, expected = (torch.cat([values[name].flatten() for name in sorted(ours)]) for values in (ours, theirs))
        assert (learned - expected).norm() < 1e-4 * expected.norm()
        raised = [name for name in sorted(ours) if "up" in name.rpartition(".lora_")[2]]  # these begin with zeros
        learned, expected = (torch.cat([values[name].flatten() for name in raised]) for values in (ours, theirs))
        assert (learned - expected).norm() < 1e-3 * expected.norm()
        losses = TrainingSummary.read(folder).losses
        assert losses == pytest.approx(TrainingSummary.read(other).losses, rel=1e-4)
        assert sorted(file.name for file in folder.iterdir()) == sorted(file.name for file in other.iterdir())


@pytest.mark.slow
def test_two_processes_store_what_one_stores(request_, tmp_path):
    alone = stored(request_, tmp_path / "alone", 1)
    together = stored(request_, tmp_path / "together", 2)
    assert_same(together, alone)
    assert not list((tmp_path / "together" / "unfinished").iterdir())


@pytest.mark.slow
def test_two_processes_continue_what_was_interrupted(request_, tmp_path):
    whole = stored(request_, tmp_path / "whole", 1)
    short = replace(request_, settings=replace(request_.settings, training={**TRAINING, "steps": 2}), checkpoints=())
    (tmp_path / "short").mkdir()
    context = RunContext(tmp_path / "short", device="cpu", processes=2)
    train_adapter.fn(context, short)
    final = train_adapter.fn(context, replace(request_, checkpoints=())).final.folder
    assert TrainingSummary.read(final).continued_from == 2
    assert_same([final], whole[:1])


@pytest.mark.slow
def test_a_process_that_fails_ends_the_training_with_one_sentence(request_, tmp_path):
    images = [Path(shutil.copy(file, tmp_path / file.name)) for file in IMAGES]
    os.truncate(images[0], 100)
    settings = replace(request_.settings, training={**TRAINING, "on_invalid_image": "stop"})
    request = replace(request_, images=ImageSet(tuple(images), "1"), settings=settings)
    (tmp_path / "store").mkdir()
    training = AdapterTraining(RunContext(tmp_path / "store", device="cpu"), request)
    with pytest.raises(InputError, match=IMAGES[0].name) as caught:
        train_on_processes([training], StepProgress("adapter", None), 2)
    assert "\n" not in str(caught.value)
    assert not training.is_trained


def test_gpus_that_are_not_there_are_refused():
    assert training_processes(Experiment()) == 1
    with pytest.raises(InputError, match=r"`gpus` must be left out or at most the number of GPUs"):
        training_processes(Experiment(gpus=torch.cuda.device_count() + 1))
