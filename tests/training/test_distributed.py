"""Two processes with half of each step's images each learn what one learns with all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lycoris
from lycoris.bases import open_base
from lycoris.training import Example, TrainingJob, TrainingSettings, train

SETTINGS = [
    {"steps": 3, "batch_size": 5, "learning_rate": 3e-3},
    {
        "steps": 3,
        "batch_size": 1,
        "gradient_accumulation_steps": 5,
        "optimizer": "prodigy",
        "learning_rate": 1.0,
        "ema_decay": 0.8,
    },
    {"steps": 2, "batch_size": 1, "learning_rate": 3e-3, "optimizer": "lion"},
]
"""The last leaves one process without an image."""

RUN = """
import json, sys
import torch.distributed as dist
from tests.training.test_distributed import learnt
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
learnt(json.loads(sys.argv[3]), folder, f"{folder}/{rank}")
dist.destroy_process_group()
"""


def learnt(options, folder, remaining):
    """Losses and parameters of each setting, written to a file."""
    import torch

    base = open_base(options["base"], device="cpu")
    examples = [Example(Path(image), caption) for image, caption in options["examples"]]
    result = []
    for number, config in enumerate(SETTINGS):
        network = lycoris.attach(base.parts, seed=1)
        start = values(network)
        state = Path(folder) / f"{number}.safetensors"
        losses = train(
            base,
            TrainingJob(network, examples, TrainingSettings(**config), seed=7, checkpoint=state),
            deadline=float("inf"),
        ).losses
        result.append((losses, start, values(network)))
        network.detach()
    torch.save(result, remaining)


def values(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_two_processes_learn_what_one_does(small_folder, examples, tmp_path):
    options = {"base": str(small_folder), "examples": [(str(each.image), each.caption) for each in examples]}
    root = Path(__file__).parents[2]
    together = tmp_path / "together"
    together.mkdir()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(rank), str(together), json.dumps(options)],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    (tmp_path / "alone").mkdir()
    learnt(options, tmp_path / "alone", tmp_path / "expected")
    try:
        text = [process.communicate(timeout=400) for process in running]
    except subprocess.TimeoutExpired:
        pytest.fail("the two processes did not come to an end in time")
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], text
    first, second, expected = (torch.load(path) for path in (together / "0", together / "1", tmp_path / "expected"))
    for (losses, _, end), (other_losses, _, other_end), (wanted, start, wanted_end) in zip(
        first, second, expected, strict=True
    ):
        assert losses == other_losses == pytest.approx(wanted, rel=1e-5)
        assert torch.equal(end, other_end)
        assert (end - wanted_end).norm() < 1e-3 * (wanted_end - start).norm()
