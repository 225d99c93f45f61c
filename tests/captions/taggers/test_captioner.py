"""Captioners: one line of words per image, the same in every run and any batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lycoris.captions import captioner_digest, open_captioner
from lycoris.captions.taggers.captioner import Captioner
from lycoris.data.images import read_image
from lycoris.errors import InputError
from lycoris.pocket.world.generator import draw_image
from lycoris.pocket.world.vocabulary import WORDS, Tags
from tests.captions.taggers.small_captioners import MODELS


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 40, 3), dtype=np.uint8))


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def captioner(folder: Path) -> Captioner:
    return open_captioner(folder)


def test_a_sentence_is_one_line_of_words_and_deterministic(captioner: Captioner) -> None:
    images = [noise(seed) for seed in range(3)]
    sentences = captioner.sentences(images)
    assert len(sentences) == 3
    assert all(text == " ".join(text.split()) and "<" not in text and "[" not in text for text in sentences)
    assert any(sentences)
    assert captioner.sentences(images) == sentences


def test_batches_change_no_sentence(captioner: Captioner) -> None:
    images = [noise(seed) for seed in range(3)]
    assert [captioner.sentences([image])[0] for image in images] == captioner.sentences(images)
    assert captioner.sentences([]) == []


def test_the_digest_depends_on_the_files(captioner: Captioner, folder: Path) -> None:
    assert captioner.digest == captioner_digest(folder)
    assert len(captioner.digest) == 64
    assert captioner.digest != captioner_digest("pocket")


def test_the_pocket_captioner_describes_an_image_in_the_pocket_s_words() -> None:
    import random

    shown = Tags("bear", "purple", "hat", "snow", "pixel")
    (sentences,) = open_captioner().sentences([draw_image(shown, random.Random(0))])
    assert sentences == "a purple bear wearing a hat in the snow, pixel style"
    assert set(sentences.replace(",", "").split()) <= set(WORDS)


def test_a_sidecar_sentence_comes_from_the_caption_file_or_the_text_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        noise(0).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text("a cat,\nasleep")
    (tmp_path / "a.caption").write_text("A cat that sleeps — 猫 🐈.\n", encoding="utf-8")
    captioner = open_captioner("sidecar")
    images = [read_image(tmp_path / f"{name}.png") for name in ("a", "b")]
    assert captioner.sentences(images) == ["A cat that sleeps — 猫 🐈.", "a cat, asleep"]
    (tmp_path / "b.txt").unlink()
    with pytest.raises(InputError, match=r"1 of 2 images have no sentence .*b\.txt.*captioner other than"):
        captioner.sentences(images)
    with pytest.raises(InputError, match="image without a file"):
        captioner.sentences([noise(0)])


def test_invalid_captioners_are_errors_that_name_the_problem(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean `pocket`"):
        open_captioner("poket")
    with pytest.raises(InputError, match=r"config\.json"):
        open_captioner(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "florence"}))
    with pytest.raises(InputError, match="Did you mean `florence2`"):
        open_captioner(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "blip"}))
    with pytest.raises(InputError, match="processor"):
        open_captioner(tmp_path)
