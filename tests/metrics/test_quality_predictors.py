"""Networks of single metrics: CLIP-IQA and the aesthetic predictor on the embedded CLIP, LPIPS as points."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lycoris import pocket
from lycoris.encoders import Encoder, open_encoder
from lycoris.errors import InputError
from lycoris.metrics import METRICS, FeatureSet, GeneratedImages, PromptSpec, balance_classes, compare, encode
from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.quality_predictors import (
    AestheticsPredictor,
    ClipIQA,
    Lpips,
    MosPredictor,
    open_quality_predictors,
)
from lycoris.metrics.quality_predictors.iqa import embed_distances


@pytest.fixture(scope="module")
def clip() -> Encoder:
    return open_encoder("clip")


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    files = sorted((pocket.IMAGES / "stuffed_toys" / "inky").glob("*.png"))[:6]
    return [Image.open(file).convert("RGB") for file in files]


@pytest.fixture(scope="module")
def features_by_encoder(clip, images) -> dict[str, np.ndarray]:
    return {"clip": clip.image_features(images).numpy()}


def test_clip_iqa_equals_the_softmax_of_torchmetrics(clip, images, features_by_encoder) -> None:
    clip_iqa = pytest.importorskip("torchmetrics.functional.multimodal.clip_iqa")

    def normalised(features: torch.Tensor) -> torch.Tensor:
        return features.double() / features.double().norm(dim=1, keepdim=True)

    anchors = normalised(clip.text_features(["Good photo.", "Bad photo."]))
    expected = clip_iqa._clip_iqa_compute(
        normalised(torch.from_numpy(features_by_encoder["clip"])), anchors, ["quality"]
    )
    marks = ClipIQA(clip).predict(PredictionInputs(images, features_by_encoder))
    assert marks.shape == (6, 1)
    np.testing.assert_allclose(marks[:, 0], expected.numpy(), atol=1e-9)


def write_head(file: Path, width: int) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(width, 16), nn.Dropout(0.2), nn.Linear(16, 4), nn.Linear(4, 1)).eval()
    torch.save({f"layers.{key}": value for key, value in layers.state_dict().items()}, file)
    return layers


def test_the_aesthetic_predictor_equals_its_layers_on_normalized_features(
    images, features_by_encoder, tmp_path: Path
) -> None:
    width = features_by_encoder["clip"].shape[1]
    layers = write_head(tmp_path / "head.pth", width)
    features = torch.from_numpy(features_by_encoder["clip"])
    with torch.no_grad():
        expected = layers(features / features.norm(dim=1, keepdim=True))
    marks = AestheticsPredictor(tmp_path / "head.pth", "clip").predict(PredictionInputs(images, features_by_encoder))
    np.testing.assert_allclose(marks, expected.numpy(), atol=1e-5)
    single = nn.Linear(width, 1)
    torch.save(single.state_dict(), tmp_path / "single.pth")
    with torch.no_grad():
        expected = single(features / features.norm(dim=1, keepdim=True))
    np.testing.assert_allclose(
        AestheticsPredictor(tmp_path / "single.pth", "clip").predict(PredictionInputs(images, features_by_encoder)),
        expected,
        atol=1e-5,
    )


def test_an_aesthetic_predictor_that_does_not_fit_is_an_error(images, features_by_encoder, tmp_path: Path) -> None:
    write_head(tmp_path / "head.pth", 7)
    with pytest.raises(InputError, match="width 7"):
        AestheticsPredictor(tmp_path / "head.pth", "clip").predict(PredictionInputs(images, features_by_encoder))
    with pytest.raises(InputError, match="in use are: clip"):
        AestheticsPredictor(tmp_path / "head.pth", "other").predict(PredictionInputs(images, features_by_encoder))
    torch.save({"layers.0.weight": torch.zeros(3, 3, 3, 3), "layers.0.bias": torch.zeros(3)}, tmp_path / "odd.pth")
    with pytest.raises(InputError, match="linear layers"):
        AestheticsPredictor(tmp_path / "odd.pth", "clip")


def test_predictions_become_scores_with_intervals(clip, images, tmp_path: Path) -> None:
    head = tmp_path / "head.pth"
    write_head(head, clip.image_features(images[:1]).shape[1])
    raters = open_quality_predictors(["clip_iqa", f"aesthetics={head}"], [clip, open_encoder("dinov2")])
    prompts = [PromptSpec("a toy", "a toy", seed) for seed in range(6)]
    features = encode(
        {"trigger": GeneratedImages("trigger", images, prompts)}, [clip], category="toys", quality_predictors=raters
    )
    scores = {each.name: each for each in compare(features["trigger"], features, category="toys")}
    for name in ("clip_iqa/trigger/clip", "aesthetics/trigger/clip"):
        assert scores[name].low < scores[name].value < scores[name].high


def test_embedded_points_have_the_given_squared_distances() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))
    squared = ((x[:, None] - x[None]) ** 2).sum(2)
    found = embed_distances(squared)
    np.testing.assert_allclose(((found[:, None] - found[None]) ** 2).sum(2), squared, atol=1e-9)


def test_lpips_is_the_mean_of_its_network_over_pairs(images) -> None:
    def squared(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return ((first - second) ** 2).mean()

    found = Lpips(network=squared).predict(PredictionInputs(images))
    pixels = [np.asarray(image) / 255 for image in images]
    expected = np.mean([((a - b) ** 2).mean() for a, b in itertools.combinations(pixels, 2)])
    assert METRICS["lpips"].function(found) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match="one size"):
        Lpips(network=squared).predict(PredictionInputs([images[0], images[0].resize((32, 32))]))


@pytest.mark.skipif(importlib.util.find_spec("pyiqa") is not None, reason="pyiqa is installed")
def test_a_missing_package_is_an_error_that_names_it(clip) -> None:
    for name in ("liqe", "maniqa", "lpips"):
        with pytest.raises(InputError, match="pip install pyiqa"):
            open_quality_predictors([name], [clip])


def test_errors_name_unknown_predictors_and_those_without_an_encoder(clip) -> None:
    with pytest.raises(InputError, match="Did you mean `liqe`"):
        open_quality_predictors(["lique"], [clip])
    with pytest.raises(InputError, match="Did you mean `maniqa`"):
        MosPredictor("manika")
    with pytest.raises(InputError, match="needs a text-image encoder"):
        open_quality_predictors(["clip_iqa"], [open_encoder("dinov2")])
    with pytest.raises(InputError, match="needs its file"):
        open_quality_predictors(["aesthetics"], [clip])


def test_balanced_classes_have_equal_numbers_of_images() -> None:
    few, many = (FeatureSet({"image/clip": np.arange(count, dtype=float)[:, None]}) for count in (3, 10))
    joined = balance_classes({"few": few, "many": many})
    assert joined.arrays["image/clip"][:, 0].tolist() == [0, 1, 2, 0, 3, 6]
    assert balance_classes({"few": few}).arrays["image/clip"].tolist() == few.arrays["image/clip"].tolist()
    with pytest.raises(InputError, match="but got none"):
        balance_classes({})
    with pytest.raises(InputError, match="but got empty"):
        balance_classes({"few": few, "empty": FeatureSet({})})
