"""A training that is killed repeatedly ends as if it had never been."""

import multiprocessing
import os
import random
import signal
import time

import pytest

from lycoris.cache.integrity import file_digest
from tests.training.interrupted_training import STEPS, go

SLOW_TO_IMPORT = [
    "torch",
    "lycoris.training",
    "lycoris.bases",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.schedulers.scheduling_ddim",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
]


@pytest.fixture(scope="module")
def processes():
    """Processes that have torch loaded, and nothing else of this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SLOW_TO_IMPORT)
    return context


def outcome(folder):
    """Every file but the states, by its hash."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(("state", "progress"))]
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}


def lines(file):
    return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.mark.parametrize("count", [1, 2])
def test_killed_at_three_moments_it_ends_with_the_same_files(processes, small_folder, examples, tmp_path, count):
    def start(folder):
        folder.mkdir(exist_ok=True)
        process = processes.Process(target=go, args=(small_folder, examples, folder, count))
        process.start()
        return process

    whole = start(tmp_path / "whole")
    whole.join(300)
    assert whole.exitcode == 0
    draws, killed = random.Random(count), tmp_path / "killed"
    progress = killed / "progress"
    for kill in range(3):
        begun = lines(progress)
        process = start(killed)
        wanted = begun + draws.randrange(1, count * STEPS // 3)
        while process.is_alive() and lines(progress) < wanted:
            time.sleep(0.005)
        time.sleep(draws.random() * 0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"it ended before kill {kill}"
    last = start(killed)
    last.join(300)
    assert last.exitcode == 0
    assert lines(progress) >= count * STEPS
    assert outcome(killed) == outcome(tmp_path / "whole")
    expected = {"adapter.safetensors", "curves.json", "checkpoints/9.safetensors", "samples/10/00.png"}
    assert {f"{number}/{name}" for number in range(count) for name in expected} <= outcome(killed).keys()
