"""A study with one small adapter, as the main job logs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file

from lycoris.metrics import Score
from tasks.artifacts import ModelRef, RunSpec
from tasks.data_versions.manifest import DataVersion
from tasks.tracking.adapter_record import AdapterRun
from tasks.tracking.client import tracking_server
from tasks.tracking.runs import StudyRun, open_study
from tasks.trainings import AdapterSettings, TrainingSummary

SETTINGS = {"algorithm": "lora", "preset": None, "rank": 4, "alpha": None, "factor": None, "training": {"steps": 2}}
SCORE = Score(
    "image_similarity/trigger/clip", 0.123456789, None, None, 0.1, None, None, 0.02, None, None, "fidelity", True
)


def open_small_study(output: Path, number: int = 1) -> StudyRun:
    """The parent run; a study of each number has a data version of its own."""
    version = DataVersion(f"{number:032x}.dir", output / "data", 1, 1, "unchanged")
    return open_study(tracking_server(output), "study", f"study {number}", SETTINGS, version)


def adapter_run(folder: Path, number: int, concept: str = "grumble", file: Path | None = None, **changes: Any) -> Any:
    """One adapter; without `file` one of a single tensor is written below a folder."""
    files = folder / "files"
    files.mkdir(exist_ok=True)
    spec = RunSpec(concept, "lora learning_rate=0.5", "none", number)
    if file is None:
        file = files / f"{spec.name}.safetensors"
        save_file({"x": torch.full((2, 3), float(number))}, file)
    Image.new("RGB", (8, 8)).save(files / "sheet.png")
    values = {
        "key": f"key {number}",
        "spec": spec,
        "settings": AdapterSettings.from_dict(SETTINGS),
        "summary": TrainingSummary(2, 1.0, [0.5, 0.25], {}, [], 6, 1, 1.0, 1, None, 2, 0, {}),
        "curves": {"loss": [(1, 0.5), (2, 0.25)]},
        "samples": [],
        "scores": [SCORE],
        "captions": [{"picture": "1.png", "strategy": "none", "caption": "x"}],
        "file": file,
        "contact_sheet": files / "sheet.png",
        "base": ModelRef("pocket", "0"),
        "lineage": {"base.digest": "abc", "commit": "c0ffee"},
    }
    return AdapterRun(**{**values, **changes})
