"""What is checked of an experiment before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from flows.config.loading import load_experiment
from flows.config.preflight import validate_experiment
from lycoris.errors import InputError
from tests.bases.small_base import save_small_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_small_base(folder)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos" / "teapot"
    folder.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (32, 32), (99, number, 9)).save(folder / f"{number}.png")
    return folder


def check(base: Path | str, photos: Path, *options: str) -> None:
    validate_experiment(load_experiment(None, (f"base={base}", f"data={photos.parent}", "encoders=clip", *options)))


def test_photographs_need_captions_or_a_tagger_of_their_own_on_any_base_but_the_pocket(
    base: Path, photos: Path
) -> None:
    with pytest.raises(InputError, match=r"2 of 2 images of `teapot` have no caption.*`tagger`"):
        check(base, photos)
    check("pocket", photos)
    check(base, photos, "captions=none")
    check(base, photos, "tagger=pocket")
    for number in range(2):
        (photos / f"{number}.txt").write_text("teapot, table")
    check(base, photos)
    check(base, photos, "captions=sentence")


def test_options_of_a_tagger_without_a_tagger_are_an_error(base: Path, photos: Path) -> None:
    with pytest.raises(InputError, match=r"`thresholds`.*`tagger`"):
        check(base, photos, "captions=none", "thresholds={general: 0.2}")


def test_a_weight_of_prior_images_needs_prior_images(photos: Path) -> None:
    with pytest.raises(InputError, match=r"`prior_weight` needs prior images.*`teapot`"):
        check("pocket", photos, "training.prior_weight=0.1")
    with pytest.raises(InputError, match="`prior_weight` needs prior images"):
        check("pocket", photos, "algorithms=[{algorithm: lora, training: {prior_weight: 0.5}}]")
    prior = photos.parent / "prior" / "teapot"
    prior.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(prior / "0.png")
    entry = "{category: mugs, trigger: hxv, class_noun: teapot, folders: teapot, prior: prior}"
    (photos.parent / "concepts.yaml").write_text(f"concepts: {{teapot: {entry}}}")
    check("pocket", photos, "training.prior_weight=0.1")


def test_masks_from_files_need_a_mask(photos: Path) -> None:
    with pytest.raises(InputError, match=r"`mask` is `file`.*`teapot`"):
        check("pocket", photos, "training.mask=file")
    Image.new("L", (32, 32), "white").save(photos / "0.mask.png")
    check("pocket", photos, "training.mask=file")
