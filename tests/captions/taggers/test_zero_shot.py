"""Zero-shot tags from a vocabulary by a CLIP or a SigLIP."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lycoris import pocket
from lycoris.captions import open_tagger, tagger_digest
from lycoris.captions.taggers.labels import Label, read_vocabulary
from lycoris.encoders import read_preprocessing
from lycoris.errors import InputError
from lycoris.pocket.world.generator import draw_image, sample_split_tags
from lycoris.pocket.world.vocabulary import ACCESSORIES, BACKGROUNDS, COLOURS, SPECIES, STYLES

WORLD = {"species": SPECIES, "colour": COLOURS, "accessory": ACCESSORIES, "background": BACKGROUNDS,
         "style": [f"{style} style" for style in STYLES]}  # fmt: skip


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    file = tmp_path / "words.txt"
    file.write_text("long_hair\n^_^\n\n猫 🐈\nred, white and blue\n", encoding="utf-8-sig")
    return file


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """The words of the pocket world with their categories."""
    file = tmp_path / "world.csv"
    lines = [f"{word},{kind}" for kind, words in WORLD.items() for word in words]
    file.write_text("\n".join(["name,category", *lines]))
    return file


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random SigLIP with the embedded CLIP's tokenizer."""
    from transformers import AutoTokenizer, SiglipConfig, SiglipModel, ViTImageProcessor

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(pocket.CLIP)
    layer = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**layer, "vocab_size": len(tokenizer), "max_position_embeddings": 32, "projection_size": 16,
            "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}  # fmt: skip
    folder = tmp_path_factory.mktemp("siglip")
    model = SiglipModel(SiglipConfig(text_config=text, vision_config={**layer, "image_size": 32, "patch_size": 16}))
    model.logit_bias.data.fill_(-1.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    stated = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**stated, "model_input_names": ["input_ids"]}))
    size = {"height": 32, "width": 32}
    ViTImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder)
    return folder


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 40, 3), dtype=np.uint8))


def test_a_vocabulary_has_one_tag_per_line_in_any_script(vocabulary: Path) -> None:
    assert read_vocabulary(vocabulary) == tuple(
        Label(tag, "general") for tag in ("long hair", "^_^", "猫 🐈", "red, white and blue")
    )


@pytest.mark.parametrize("text", ["", "\n \n", "cat\ncat\n", "long_hair\nlong hair"])
def test_a_vocabulary_without_tags_or_with_duplicates_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(InputError, match=r"v\.txt"):
        read_vocabulary(tmp_path / "v.txt")


def test_the_embedded_clip_tags_images_with_a_vocabulary(world: Path) -> None:
    """F1 is at least 0.9, as for a trained tagger."""
    rng = random.Random(5)
    shown = [sample_split_tags(rng, held_out=True) for _ in range(60)]
    tagger = open_tagger("clip", vocabulary=world)
    found = tagger.tags([draw_image(each, rng) for each in shown])
    assert all(len({tagger.categories[tag] for tag in tags}) == len(tags) for tags in found)
    right = sum(len(set(each.to_list()) & set(seen)) for each, seen in zip(shown, found, strict=True))
    assert 2 * right / (sum(map(len, found)) + sum(len(each.to_list()) for each in shown)) >= 0.9


def test_siglip_rates_each_text_independently(siglip: Path, vocabulary: Path) -> None:
    from transformers import AutoTokenizer, SiglipModel

    tagger = open_tagger(siglip, vocabulary=vocabulary, thresholds={"general": 0.01})
    model = SiglipModel.from_pretrained(siglip).eval()
    pixels = read_preprocessing(siglip)(noise(0))[None]
    ids = AutoTokenizer.from_pretrained(siglip)(
        ["a picture of a long hair"], padding="max_length", max_length=32, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        expected = float(model(input_ids=ids, pixel_values=pixels).logits_per_image.sigmoid())
    assert tagger.tags([noise(0)])[0]["long hair"] == pytest.approx(expected, abs=1e-3)


def test_only_models_without_tags_take_a_vocabulary(siglip: Path, vocabulary: Path) -> None:
    with pytest.raises(InputError, match="`vocabulary` file"):
        open_tagger(siglip)
    for source in ("pocket", "sidecar"):
        with pytest.raises(InputError, match="takes no `vocabulary`"):
            tagger_digest(source, vocabulary=vocabulary)


def test_the_digest_depends_on_the_vocabulary(siglip: Path, vocabulary: Path) -> None:
    before = tagger_digest(siglip, vocabulary=vocabulary)
    assert open_tagger(siglip, vocabulary=vocabulary).digest == before
    vocabulary.write_text("dog")
    assert tagger_digest(siglip, vocabulary=vocabulary) != before
