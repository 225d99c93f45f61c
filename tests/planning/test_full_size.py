"""Planned memory of full-size bases against the allocator's peak of a real training, on weights of zeros.

Pages of zeros that are only read take no memory, so the weights of SDXL do not have to fit.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lycoris.bases import BASES, Base
from lycoris.bases.files.model_files import DiffusersFolder
from lycoris.planning.fake_models import FakeFiles
from lycoris.planning.plan import plan_work
from lycoris.planning.records import Workload
from lycoris.training import TrainingSettings
from tests.planning.test_plan import CAPTION, training_peak

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "lora": ({"algorithm": "lora", "preset": "unet-attn-mlp", "rank": 8}, False),
    "lokr-checkpointed": ({"algorithm": "lokr", "preset": "unet-attn-mlp", "factor": 8}, True),
}
SIDE = 128


class ZeroFiles(FakeFiles):
    """Files of a base whose weights are zeros."""

    def load_module(self, part: str, model_class: Any, dtype: torch.dtype) -> nn.Module:
        module = self.empty_module(part, model_class)
        for owner in module.modules():
            for name, parameter in owner._parameters.items():
                if parameter is not None:
                    owner._parameters[name] = nn.Parameter(torch.zeros(parameter.shape, dtype=dtype), False)
            for name, buffer in owner._buffers.items():
                if buffer is not None:
                    owner._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
        return module


def write_configurations(folder: Path, shape: str) -> DiffusersFolder:
    """The configurations of a full-size base, as a folder in the diffusers layout."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from smoke import MODEL_CONFIGS, NOISE_SCHEDULE

    pipeline = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}[shape]
    files = {"model_index.json": {"_class_name": pipeline}, "scheduler/scheduler_config.json": NOISE_SCHEDULE}
    files |= {f"{part}/config.json": config for part, config in MODEL_CONFIGS[shape].items()}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return DiffusersFolder(folder)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    ("shape", "family"), [("sd15", "stable-diffusion"), ("sdxl", "stable-diffusion-xl")], ids=["sd15", "sdxl"]
)
def test_the_planned_peak_is_that_of_a_training(tmp_path: Path, shape: str, family: str, setting: str) -> None:
    network, checkpointing = SETTINGS[setting]
    files = write_configurations(tmp_path / "base", shape)
    settings = TrainingSettings(steps=2, batch_size=1, caption_dropout=0, gradient_checkpointing=checkpointing)
    workload = Workload(
        network=network,
        training=settings,
        dtype="float32",
        on_gpu=False,
        caption=CAPTION,
        base_options={"resolution": SIDE},
        resolution=SIDE,
    )
    planned = plan_work(files, BASES[family], shape, workload).phases
    base = Base(BASES[family], ZeroFiles(files), shape, "cpu", "float32", SIDE)
    measured = training_peak(base, tmp_path, network, settings)
    beyond = {name: round(each.working / 2**20) for name, each in planned.items()}
    print(f"{shape} {setting}, MiB beyond the weights: planned {beyond}, measured {measured / 2**20:.0f}")
    resident = planned["training"].resident
    assert planned["training"].peak == pytest.approx(resident + measured, rel=0.05)
