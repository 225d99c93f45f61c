"""Captioners: one line of words per image, the same in every run and any batch."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lycoris.captions import captioner_digest, open_captioner
from lycoris.captions.taggers.captioner import Captioner
from lycoris.captions.taggers.image_to_text import INSTRUCTION, TransformersCaptioner
from lycoris.data.images import read_image
from lycoris.encoders.chat_models import MAX_PIXELS
from lycoris.errors import InputError
from lycoris.pocket.world.generator import draw_image
from lycoris.pocket.world.vocabulary import WORDS, Tags
from tests.captions.taggers.small_captioners import MODELS


def noise(seed: int) -> Image.Image:
    """An image of random colours; another seed has another size and shape."""
    size = [(24, 40, 3), (80, 56, 3), (30, 120, 3)][seed]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, size, dtype=np.uint8))


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def captioner(folder: Path) -> TransformersCaptioner:
    opened = open_captioner(folder)
    assert isinstance(opened, TransformersCaptioner)
    return opened


def test_sentences_are_single_lines_of_words_and_the_same_in_any_batch(
    captioner: TransformersCaptioner, caplog: pytest.LogCaptureFixture
) -> None:
    images = [noise(seed) for seed in range(3)]
    sentences = captioner.sentences(images)
    assert len(sentences) == 3
    assert all(text == " ".join(text.split()) and "<" not in text and "[" not in text for text in sentences)
    assert all(sentences)
    assert not caplog.records
    assert [captioner.sentences([image])[0] for image in images] == sentences
    assert captioner.sentences([]) == []


def test_sentences_that_are_cut_are_counted(
    captioner: TransformersCaptioner, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioner, "max_new_tokens", 5)
    captioner.sentences([noise(0), noise(1)])
    assert ("2 of 2 sentences are cut at 5 tokens" in caplog.text) == captioner.is_chat


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


def test_an_instruction_is_part_of_the_prompt_and_the_digest(captioner: TransformersCaptioner, folder: Path) -> None:
    if captioner.is_chat:
        assert INSTRUCTION in str(captioner.prompt)
        assert captioner_digest(folder, INSTRUCTION) == captioner.digest != captioner_digest(folder, "a red hat")
        with pytest.raises(InputError, match="must not be empty"):
            captioner_digest(folder, " ")
    else:
        with pytest.raises(InputError, match=r"`instruction` must be None .* are llava, qwen2_vl"):
            captioner_digest(folder, "a red hat")


@pytest.mark.parametrize("source", ["pocket", "sidecar"])
def test_the_pocket_and_files_follow_no_instruction(source: str) -> None:
    with pytest.raises(InputError, match=f"must be None for captioner `{source}`"):
        captioner_digest(source, "a red hat")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS["qwen2_5_vl"](tmp_path_factory.mktemp("qwen"))


def test_an_own_instruction_reaches_the_network(qwen: Path) -> None:
    default, own = (open_captioner(qwen, instruction=text) for text in (None, "a red hat on a bear"))
    assert isinstance(default, TransformersCaptioner)
    assert isinstance(own, TransformersCaptioner)
    assert "a red hat on a bear" in str(own.prompt)
    assert own.sentences([noise(0)]) != default.sentences([noise(0)])


def test_a_large_image_is_read_in_a_million_pixels(tmp_path: Path, qwen: Path) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "large"))
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "max_pixels": 12_845_056}))
    captioner = open_captioner(folder)
    assert isinstance(captioner, TransformersCaptioner)
    rows, columns = captioner.processor.image_processor(Image.new("RGB", (3000, 2000)))["image_grid_thw"][0][1:]
    assert 0.9 * MAX_PIXELS < rows * columns * 14 * 14 <= MAX_PIXELS


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("chat_template.json", "must hold a chat template"),
        ("preprocessor_config.json", "must hold its processor and tokenizer"),
        ("tokenizer.json", "must hold its processor and tokenizer"),
        ("model.safetensors", "could not be loaded"),
    ],
)
def test_a_missing_file_of_a_captioner_is_named(tmp_path: Path, qwen: Path, missing: str, message: str) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "model"))
    (folder / missing).unlink()
    with pytest.raises(InputError, match=message) as error:
        open_captioner(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0]['role'] }}", "must write `<|image_pad|>` for an image"),
        ("<|image_pad|> {{ raise_exception('no images') }}", "cannot be used: no images"),
        ("<|image_pad|> {% if %}", "cannot be used"),
        ("<|image_pad|> <think>\n", "reasons before it answers"),
    ],
)
def test_a_template_that_shows_no_image_is_an_error(tmp_path: Path, qwen: Path, template: str, message: str) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "model"))
    (folder / "chat_template.json").unlink()
    before = captioner_digest(folder)
    (folder / "chat_template.jinja").write_text(template)
    assert captioner_digest(folder) != before
    with pytest.raises(InputError, match=re.escape(message)):
        open_captioner(folder)


def test_the_weights_of_another_model_are_an_error(tmp_path: Path, qwen: Path) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "model"))
    save_file({"linear.weight": torch.ones(2, 2)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="must hold every weight, but lacks"):
        open_captioner(folder)


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
