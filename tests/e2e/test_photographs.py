"""Photographs: large, of any aspect ratio, rotated by EXIF, without a concepts file."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lycoris.cache.integrity import file_digest
from tasks.tracking.client import tracking_server
from tasks.tracking.registry import pull
from tasks.tracking.run_tables import read_run_table
from tests.e2e.tiny import ROOT, json_result, run_lycoris, write_experiment

CONCEPT = "röbot %20# toy"
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "dreambooth" / "toy" / "robot_toy"


def save(image: Image.Image, path: Path, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90, exif=exif)


@pytest.fixture
def data(tmp_path):
    """Photographs if available, else gradients of the same sizes; one narrow, one wide, two rotated."""
    folder = tmp_path / "data" / "toys" / CONCEPT
    files = sorted(PHOTOGRAPHS.glob("*.jpg"))[:4]
    shades = np.linspace(0, 255, 1500, dtype=np.uint8)
    gradients = [
        np.stack(np.meshgrid(shades, np.roll(shades, 400 * n), indexing="xy") * 2, -1)[..., :3] for n in range(4)
    ]
    images = [Image.open(path).convert("RGB") for path in files] or [Image.fromarray(one) for one in gradients]
    for number, (image, shape, orientation) in enumerate(
        zip(images, ((1500, 1500), (600, 1400), (1400, 500), (1200, 900)), (1, 6, 1, 3), strict=False)
    ):
        save(image.resize(shape), folder / f"IMG %20?# ü {number}.JPG", orientation)
    return folder


def test_photographs_run_without_a_concepts_file(tmp_path, data):
    file = write_experiment(tmp_path, algorithms=["lokr"], captions=["adjusted"], encoders=["clip"])
    done = run_lycoris("run", file, "--json")
    (adapter,) = json_result(done)["adapters"]
    assert adapter["concept"] == CONCEPT
    assert "trigger" in done.stderr
    assert set(adapter["scores"]) == set(adapter["base_scores"])
    assert "Prefect does not accept" not in done.stderr
    server = tracking_server(tmp_path / "runs")
    _, pulled = pull(server, f"{CONCEPT}@1", tmp_path / "pulled.safetensors")
    assert file_digest(pulled) == file_digest(Path(adapter["file"]))
    tables = {table: read_run_table(server, adapter["run_id"], table) for table in ("captions.json", "prompts.json")}
    assert sorted(row["picture"] for row in tables["captions.json"]) == sorted(path.name for path in data.iterdir())
    assert {row["prompt_type"] for row in tables["prompts.json"]} == {"train", "trigger", "alter", "style"}
    page = Path(json_result(done)["report"]).read_text(encoding="utf-8")
    (concept,) = json.loads(re.search(r'type="application/json" id="data">(.*?)</script>', page, re.S)[1])["concepts"]
    assert (concept["name"], len(concept["references"])) == (CONCEPT, 4)
    assert None not in concept["references"]
