"""Photographs: large, of any aspect ratio, rotated by EXIF, without a concepts file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.tiny import ROOT, json_result, run_lycoris, write_experiment

PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "dreambooth" / "toy" / "robot_toy"


def save(image: Image.Image, path: Path, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90, exif=exif)


@pytest.fixture
def data(tmp_path):
    """Photographs if available, else gradients of the same sizes; one narrow, one wide, two rotated."""
    folder = tmp_path / "data" / "toys" / "robot toy"
    files = sorted(PHOTOGRAPHS.glob("*.jpg"))[:4]
    shades = np.linspace(0, 255, 1500, dtype=np.uint8)
    gradients = [
        np.stack(np.meshgrid(shades, np.roll(shades, 400 * n), indexing="xy") * 2, -1)[..., :3] for n in range(4)
    ]
    images = [Image.open(path).convert("RGB") for path in files] or [Image.fromarray(one) for one in gradients]
    for number, (image, shape, orientation) in enumerate(
        zip(images, ((1500, 1500), (600, 1400), (1400, 500), (1200, 900)), (1, 6, 1, 3), strict=False)
    ):
        save(image.resize(shape), folder / f"IMG {number}.JPG", orientation)
    return folder


def test_photographs_run_without_a_concepts_file(tmp_path, data):
    file = write_experiment(tmp_path, algorithms=["lokr"], captions=["adjusted"], encoders=["clip"])
    done = run_lycoris("run", file, "--json")
    (adapter,) = json_result(done)["adapters"]
    assert adapter["concept"] == "robot toy"
    assert "trigger" in done.stderr
    assert set(adapter["scores"]) == set(adapter["base_scores"])
