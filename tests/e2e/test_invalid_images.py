"""Invalid images in the data: skipped by every step with a message, or an error."""

import json
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.e2e.tiny import run_lycoris


@pytest.fixture
def data(tmp_path):
    """A data folder with one concept of three images."""
    folder = tmp_path / "data"
    (folder / "toys" / "bear").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (64, 64), (80 * number, 90, 120)).save(folder / "toys" / "bear" / f"{number}.png")
    entry = {"category": "toys", "trigger": "gqp", "class_noun": "toy"}
    (folder / "concepts.yaml").write_text(yaml.safe_dump({"concepts": {"bear": entry}}))
    return folder


def options(data, tmp_path, **more):
    values = {"data": data, "output": tmp_path / "runs", **more}
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def write_invalid_image(folder, fault):
    """Write an image file that cannot be used, and return its path."""
    file = folder / ("7.jpg" if fault == "truncated" else "7.png")
    if fault == "truncated":
        Image.effect_noise((300, 200), 80).convert("RGB").save(file)
        file.write_bytes(file.read_bytes()[:2000])
    elif fault == "text":
        file.write_text("not an image")
    else:
        Image.new("RGB", (1, 1)).save(file)
    return file


SMALL = {
    "algorithms": "lora", "captions": "all", "steps": 2, "encoders": "clip", "sampling.steps": 2,
    "images": "{train: 0, trigger: 3, alter: 0, style: 0}",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["truncated", "text", "tiny"])
def test_an_invalid_image_is_named_and_skipped_by_every_step(data, tmp_path, fault):
    file = write_invalid_image(data / "toys" / "bear", fault)
    done = run_lycoris("run", "--json", *options(data, tmp_path, **SMALL))
    assert done.returncode == 0, done.stderr
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert list(result["adapters"][0]["set_aside"]) == [str(file)]
    page = json.loads(re.search(r'id="data">(.*?)</script>', Path(result["report"]).read_text(), re.S)[1])
    assert [page["adapters"][0]["trainingImages"], list(page["adapters"][0]["skippedImages"])] == [3, [str(file)]]
    assert len(page["concepts"][0]["references"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"training.on_invalid_image": "stop"}, {}])
def test_an_invalid_image_stops_the_run_if_configured_or_if_none_is_valid(data, tmp_path, change):
    file = write_invalid_image(data / "toys" / "bear", "text")
    if not change:
        for number in range(3):
            write_invalid_image(data / "toys" / "bear", "text").rename(data / "toys" / "bear" / f"{number}.png")
        write_invalid_image(data / "toys" / "bear", "text")
    done = run_lycoris("run", *options(data, tmp_path, **SMALL, **change))
    assert done.returncode == 2, done.stderr
    assert str(file.parent) in done.stderr
    assert "Traceback" not in done.stderr
