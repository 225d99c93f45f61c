"""The comparison of two revisions' results finds what differs, down to one bit and one digit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.equivalence import main

HEADER = {"concept": "grumble", "lycoris.algorithm": "lora", "captions": "all", "seed": "0", "step": "40"}


def write_runs(
    root: Path, *, weight: float = 0.5, score: str = "0.125", image: bytes = b"image", key: str = "a1"
) -> None:
    """A small output folder with one adapter, one image, one score and the pointer beside it."""
    tensors = {"layer.weight": torch.tensor([[1.0, weight]], dtype=torch.bfloat16)}
    adapter, images = root / "runs" / "store" / "adapter" / key, root / "runs" / "store" / "images" / f"{key}b"
    study = root / "runs" / "study"
    for folder in (adapter, images / "train", study / "adapters"):
        folder.mkdir(parents=True)
    save_file(tensors, adapter / "adapter.safetensors", metadata=HEADER)
    save_file(tensors, study / "adapters" / "one.safetensors", metadata={**HEADER, "commit": key})
    (images / "stage.json").write_text(json.dumps({"inputs": {"adapter": key}}))
    (images / "prompts.json").write_text(json.dumps({"train": [{"text": "a bear", "seed": 7}]}))
    (images / "train" / "000.png").write_bytes(image)
    rows = f"grumble,lora,clip_score,{score},fidelity,run-{key}\ngrumble,lora,seconds,{key},efficiency,run-{key}\n"
    (study / "scores.csv").write_text(f"concept,config,name,value,dimension,run_id\n{rows}")
    (root / "data.dvc").write_text("outs: []\n")


def run(old: Path, new: Path) -> int:
    return main(
        [str(old / "runs"), str(new / "runs"), "--old-data", f"{old}/data.dvc", "--new-data", f"{new}/data.dvc"]
    )


def test_equal_results_under_other_stage_keys_are_equal(tmp_path: Path, capsys) -> None:
    write_runs(tmp_path / "old")
    write_runs(tmp_path / "new", key="c2")
    assert run(tmp_path / "old", tmp_path / "new") == 0
    assert "| adapters, by tensor | 1 | 1 | 0 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"weight": 0.50390625}, "| adapters, by tensor | 1 | 0 | 1 |"),
        ({"score": "0.1250"}, "| scores.csv, by cell | 5 | 4 | 1 |"),
        ({"image": b"imagf"}, "| generated images, by file | 1 | 0 | 1 |"),
    ],
)
def test_one_bit_or_digit_is_a_difference(tmp_path: Path, capsys, change: dict[str, object], row: str) -> None:
    write_runs(tmp_path / "old")
    write_runs(tmp_path / "new", **change)
    assert run(tmp_path / "old", tmp_path / "new") == 1
    assert row in capsys.readouterr().out


def test_another_data_version_and_a_missing_adapter_are_differences(tmp_path: Path, capsys) -> None:
    write_runs(tmp_path / "old")
    write_runs(tmp_path / "new")
    (tmp_path / "new" / "data.dvc").write_text("outs: [other]\n")
    (tmp_path / "new" / "runs" / "study" / "adapters" / "one.safetensors").rename(tmp_path / "elsewhere.safetensors")
    assert run(tmp_path / "old", tmp_path / "new") == 1
    printed = capsys.readouterr().out
    assert "| data.dvc, by file | 1 | 0 | 1 |" in printed
    assert "one.safetensors: present before, missing after" in printed


def test_folders_without_results_are_not_called_equal(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "data.dvc").write_text("outs: []\n")
    assert run(tmp_path, tmp_path) == 1
