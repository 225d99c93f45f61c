"""`lycoris masks`: masks beside images, which a training reads; images without a subject are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows.cli.main import main
from flows.config.concepts import select_concepts
from flows.config.experiment import Experiment
from flows.steps.requests import census_messages
from lycoris.data.images import find_mask
from lycoris.training.data.cropping import ResizeCrop
from lycoris.training.data.loss_masks import LossMasks
from lycoris.training.data.tensor_cache import TensorCache
from tests.segmentation.small_segmenters import MODELS

ROTATED = 6
"""EXIF orientation of an image that is shown turned by 90 degrees."""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS["clipseg"](tmp_path_factory.mktemp("model") / "everything", bias=9.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three images of a dog: one is rotated by its header, one has a mask of the user."""
    folder = tmp_path / "data" / "animals" / "rex the dog"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 64, 3), dtype=np.uint8)
    for name in ("a", "b", "c"):
        header = Image.Exif()
        header[0x0112] = ROTATED if name == "b" else 1
        Image.fromarray(pixels).save(folder / f"{name}.jpg", exif=header)
    Image.new("L", (64, 40), 128).save(folder / "c.mask.png")
    return tmp_path / "data"


def masks(data: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[dict[str, Any], str]:
    arguments = ["masks", str(data), "--json", "--set", f"output={data.parent / 'runs'}", *options]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    return json.loads(out.splitlines()[-1]), err


def test_masks_are_written_beside_images_and_read_by_a_training(
    data: Path, everything: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data / "animals" / "rex the dog"
    before = (folder / "c.mask.png").read_bytes()
    result, err = masks(data, capsys, "--segmenter", str(everything), "--write")
    assert result["written"] == [str(folder / "a.mask.png"), str(folder / "b.mask.png")]
    assert [(one["own"], one["without"]) for one in result["classes"]] == [([str(folder / "c.jpg")], [])]
    assert "1 of 3 images of" in err
    assert (folder / "c.mask.png").read_bytes() == before
    reader = LossMasks("file", 8, TensorCache(None))
    for name, size in (("a", (64, 40)), ("b", (40, 64))):
        mask = find_mask(folder / f"{name}.jpg")
        assert mask is not None
        crop = ResizeCrop(size, (64, 64))
        weights = reader.stack([reader.cache_mask(folder / f"{name}.jpg", crop)], crop, [False])
        assert weights.min() == 1
    again, _ = masks(data, capsys, "--segmenter", str(everything), "--write")
    assert again["written"] == []


def test_without_write_nothing_is_written_and_masks_are_cached_by_content(
    data: Path, everything: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = masks(data, capsys, "--segmenter", str(everything))
    assert len(first["classes"][0]["masked"]) == 2
    assert [path.name for path in sorted((data / "animals" / "rex the dog").glob("*.png"))] == ["c.mask.png"]
    computed: list[object] = []
    monkeypatch.setattr("lycoris.segmentation.segmenter.Segmenter.masks", lambda *_: computed.append(1))
    assert masks(data, capsys, "--segmenter", str(everything))[0] == first
    assert not computed


def test_images_without_a_subject_are_named_and_get_no_mask(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = MODELS["clipseg"](tmp_path / "nothing", bias=-9.0)
    result, err = masks(data, capsys, "--segmenter", str(nothing), "--prompt", "a cat", "--write")
    assert result["written"] == []
    assert [Path(path).name for path in result["classes"][0]["without"]] == ["a.jpg", "b.jpg"]
    assert "2 of 3 images of" in err
    assert "show no `a cat` and train unmasked" in err
    assert "b.jpg" in err


def test_a_linked_folder_is_not_written_into(
    data: Path, tmp_path: Path, everything: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (data / "animals" / "rex the dog").rename(elsewhere)
    (data / "animals" / "rex the dog").symlink_to(elsewhere)
    options = ["--segmenter", str(everything), "--write", "--set", f"output={tmp_path / 'runs'}"]
    assert main(["masks", str(data), *options]) == 2
    assert "its folder is a link: not written" in capsys.readouterr().err
    assert not (elsewhere / "a.mask.png").exists()


def test_invalid_arguments_are_one_sentence(
    data: Path, tmp_path: Path, everything: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sam = MODELS["sam"](tmp_path / "sam")
    for options, message in (
        (["--segmenter", str(tmp_path / "nowhere")], "nowhere"),
        (["--segmenter", str(sam), "--prompt", "a dog"], "takes no text"),
        (["--segmenter", str(everything), "--prompt", " "], "must not be empty"),
        (["--segmenter", str(everything), "--threshold", "2"], "must be between 0 and 1"),
    ):
        assert main(["masks", str(data), *options, "--set", f"output={tmp_path / 'runs'}"]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("lycoris: ")
        assert message in last


def test_a_run_says_how_many_images_have_masks_and_whether_its_trainings_use_them(data: Path) -> None:
    for settings, expected in (
        ({"algorithms": ["lora"]}, "which is not used: set `training.mask: file`"),
        ({"algorithms": ["lora"], "training": {"mask": "file"}}, "which is used; images without one train unmasked."),
        (
            {"algorithms": ["lora", {"algorithm": "lokr", "training": {"mask": "file"}}]},
            "which is used by 1 of 2 trainings; images without one train unmasked.",
        ),
    ):
        experiment = Experiment(data=data, **settings)
        messages = census_messages(experiment, data, select_concepts(experiment, data).known)
        assert any("1 of 3 images have a mask beside them" in one and expected in one for one in messages)
