"""Segmenters: a mask of an image's size from every family, nothing where nothing is found, and clear errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lycoris.errors import InputError
from lycoris.segmentation import Segmenter, open_segmenter, segmenter_digest, takes_prompt
from tests.segmentation.small_segmenters import MODELS


def noise(seed: int, width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


class Square:
    """A network that finds the left half of an image with certainty `certainty`."""

    def __init__(self, certainty: float) -> None:
        self.certainty = certainty

    def probabilities(self, image: Image.Image, prompt: str | None) -> torch.Tensor:
        found = torch.zeros(image.height, image.width)
        found[:, : image.width // 2] = self.certainty
        return found


def test_a_mask_is_white_where_the_probability_exceeds_the_threshold() -> None:
    (mask,) = Segmenter("half", "x", Square(0.6), threshold=0.5).masks([noise(0, 8, 3)], None)
    assert mask is not None
    assert np.array(mask).tolist() == [[255] * 4 + [0] * 4] * 3
    assert Segmenter("half", "x", Square(0.6), threshold=0.7).masks([noise(0, 8, 3)], None) == [None]


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_outside_0_and_1_is_an_error(threshold: float) -> None:
    with pytest.raises(InputError, match="`threshold` must be between 0 and 1"):
        Segmenter("half", "x", Square(0.6), threshold=threshold)


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS[request.param](tmp_path_factory.mktemp("segmenter") / request.param)


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> Segmenter:
    return open_segmenter(folder)


def test_every_family_rates_each_pixel_of_images_of_any_size(segmenter: Segmenter, folder: Path) -> None:
    for seed, size in enumerate([(24, 40), (90, 30)]):
        image = noise(seed, *size)
        cat, dog = (segmenter.network.probabilities(image, text) for text in ("a cat", "a dog"))
        assert cat.shape == (image.height, image.width)
        assert 0 <= cat.min() < cat.max() <= 1
        assert torch.equal(cat, segmenter.network.probabilities(image, "a cat"))
        assert takes_prompt(folder) != torch.equal(cat, dog)
        (mask,) = segmenter.masks([image], "a cat")
        assert mask is None or mask.size == image.size


def test_sam_takes_the_mask_at_the_centre_that_it_rates_best(tmp_path: Path) -> None:
    segmenter, image = open_segmenter(MODELS["sam"](tmp_path)), noise(0, 90, 40)
    processor, model = segmenter.network.processor, segmenter.network.model
    inputs = processor(images=[image], input_points=[[[45, 20]]], return_tensors="pt")
    outputs = model(pixel_values=inputs["pixel_values"], input_points=inputs["input_points"].float())
    (masks,) = processor.image_processor.post_process_masks(
        outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )
    best = masks[0, outputs.iou_scores[0, 0].argmax()]
    assert torch.equal(segmenter.network.probabilities(image, None) > 0.5, best)


def test_sam_3_finds_nothing_where_no_object_is_present(tmp_path: Path) -> None:
    segmenter = open_segmenter(MODELS["sam3"](tmp_path))
    head = segmenter.network.model.detr_decoder.presence_head.layer3
    with torch.no_grad():
        head.bias.fill_(-10.0)
        head.weight.zero_()
    assert segmenter.masks([noise(0, 40, 40)], "a cat") == [None]


def test_the_digest_depends_on_the_files(folder: Path) -> None:
    assert len(segmenter_digest(folder)) == 64


def test_a_missing_processor_and_an_unknown_family_are_named(tmp_path: Path, folder: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "model"))
    for file in [*broken.glob("*processor*"), *broken.glob("tokenizer*")]:
        file.unlink()
    with pytest.raises(InputError, match="must hold its processor and tokenizer") as error:
        open_segmenter(broken)
    assert "\n" not in str(error.value)
    (broken / "config.json").write_text(json.dumps({"model_type": "clipsegg"}))
    with pytest.raises(InputError, match="Did you mean `clipseg`"):
        segmenter_digest(broken)


def test_a_name_that_is_no_folder_is_an_error() -> None:
    with pytest.raises(InputError, match="must be a folder or a hub name"):
        segmenter_digest("clipseg")
