"""The scripts in examples/ run on the pocket and write what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
REFERENCES = ROOT / "lycoris" / "pocket" / "images" / "movie_characters" / "grumble"
MAX_LINES = 60


def run_example(name: str, *arguments: str | Path) -> str:
    """Run one of the examples and return what it prints."""
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter file that the training example wrote."""
    file = tmp_path_factory.mktemp("examples") / "adapter.safetensors"
    assert "last loss" in run_example("train_adapter.py", "--steps", "3", "--out", file)
    return file


def test_an_adapter_is_trained_and_generates_an_image(adapter: Path) -> None:
    assert adapter.stat().st_size > 100_000
    assert Image.open(adapter.with_suffix(".png")).size == (64, 64)


def test_an_adapter_file_is_loaded_into_diffusers(adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "scales.png"
    assert "lora" in run_example("load_into_diffusers.py", adapter, "a ohw bear", "--steps", "2", "--out", out)
    row = Image.open(out)
    assert row.size == (192, 64)
    scales = [row.crop((64 * index, 0, 64 * (index + 1), 64)).tobytes() for index in range(3)]
    assert len(set(scales)) == 3


def test_a_folder_of_images_is_scored(tmp_path: Path) -> None:
    generated = tmp_path / "generated"
    generated.mkdir()
    for file in sorted(REFERENCES.glob("*.png"))[:4]:
        (generated / file.name).write_bytes(file.read_bytes())
    lines = run_example(
        "score_images.py", generated, REFERENCES, "--prompt", "a bear", "--encoders", "clip"
    ).splitlines()
    scores = {line.split()[0]: float(line.split()[1]) for line in lines}
    assert scores["image_similarity/trigger/clip"] > 0.5
    assert scores["copy_risk/trigger/clip"] == pytest.approx(1, abs=1e-3)
    assert "text_similarity/trigger/clip" in scores


def test_examples_are_short() -> None:
    for file in sorted((ROOT / "examples").glob("*.py")):
        assert len(file.read_text().splitlines()) < MAX_LINES, file.name
