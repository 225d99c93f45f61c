"""CSD and SSCD from files in their published layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lycoris.encoders.open_clip import OPENAI_MEAN, OPENAI_STD
from lycoris.errors import InputError
from lycoris.metrics import METRICS, FeatureSet, GeneratedImages, PromptSpec, compare, encode, encode_references
from lycoris.metrics.fidelity import copy_rate, face_similarity
from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.quality_predictors import open_quality_predictors
from tests.encoders.test_encoders import noise_image
from tests.encoders.test_peers import SIZE, Tower


class QuickGelu(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


@pytest.fixture(scope="module")
def csd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tower, torch.Tensor]:
    """A checkpoint as published: OpenAI's tower without its projection, two projections, parallel training's prefix."""
    torch.manual_seed(0)
    tower, style = Tower(64, 1, 2, 12).eval(), torch.randn(64, 12)
    for block in tower.transformer.resblocks:
        block.mlp.gelu = QuickGelu()
    state = {f"module.backbone.{key}": value for key, value in tower.state_dict().items() if key != "proj"}
    state |= {"module.last_layer_style": style, "module.last_layer_content": torch.randn(64, 12)}
    file = tmp_path_factory.mktemp("csd") / "csd.pth"
    torch.save({"model_state_dict": state, "epoch": 1}, file)
    return file, tower, style


def test_the_style_descriptor_is_that_of_the_tower_and_its_projection(csd) -> None:
    file, tower, style = csd
    (predictor,) = open_quality_predictors([f"csd_similarity={file}"], [])
    images = [noise_image(40, 40, n) for n in range(3)]
    found = predictor.predict(PredictionInputs(images))
    pixels = np.stack([np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for image in images]) / 255
    pixels = torch.from_numpy((pixels - OPENAI_MEAN) / OPENAI_STD).float().permute(0, 3, 1, 2)
    tower.proj = torch.nn.Parameter(style)
    with torch.no_grad():
        expected = tower(pixels)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(predictor.predict(PredictionInputs(images[::-1]))[::-1], found, atol=1e-5)


def test_a_file_that_is_no_such_checkpoint_is_an_error(csd, tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pth")
    for name in ("csd_similarity", "copy_rate"):
        with pytest.raises(InputError, match=name):
            open_quality_predictors([f"{name}={tmp_path / 'other.pth'}"], [])
    state = torch.load(csd[0])["model_state_dict"]
    del state["module.backbone.ln_post.bias"]
    torch.save({"model_state_dict": state}, tmp_path / "part.pth")
    with pytest.raises(InputError, match="post_layernorm"):
        open_quality_predictors([f"csd_similarity={tmp_path / 'part.pth'}"], [])


class Colours(torch.nn.Module):
    """The mean colour as a descriptor."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3))


@pytest.fixture(scope="module")
def sscd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sscd") / "colours.torchscript.pt"
    torch.jit.script(Colours()).save(str(file))
    return file


def test_copies_are_counted_at_the_published_threshold_in_place_of_the_largest_cosine(sscd: Path) -> None:
    predictors = open_quality_predictors([f"copy_rate={sscd}"], [])
    references = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    images = [Image.new("RGB", (32, 32), colour) for colour in ("red", "red", "green", "blue", "white")]
    prompts = [PromptSpec("a", "a", n) for n in range(5)]
    own = encode_references(references, [], category="toys", quality_predictors=predictors)
    found = encode(
        {"trigger": GeneratedImages("trigger", images, prompts)}, [], category="toys", quality_predictors=predictors
    )
    (score,) = compare(own, found, category="toys")
    assert score.name == "copy_rate/trigger/colours"
    assert score.value == pytest.approx(3 / 5)
    both = FeatureSet({**own.arrays, "image/e": np.eye(2, 6)})
    images = FeatureSet({**found["trigger"].arrays, "image/e": np.eye(5, 6)}, tuple(prompts))
    names = {score.name.split("/")[0] for score in compare(both, {"trigger": images}, category="toys")}
    assert "copy_rate" in names
    assert "copy_risk" not in names
    assert METRICS["copy_risk"].by_default  # so that it was left out


def test_a_copy_is_at_the_threshold_and_not_below_it() -> None:
    angles = np.arccos([0.7499, 0.7501, 1.0])
    generated = np.stack([np.cos(angles), np.sin(angles)], 1) * 3
    assert copy_rate(np.array([[2.0, 0.0], [-1.0, 0.0]]), generated) == pytest.approx(2 / 3)


def test_an_image_without_a_face_counts_as_zero_and_a_reference_without_one_not_at_all() -> None:
    references = np.array([[1.0, 0.0], [0.0, 0.0]])
    assert face_similarity(references, np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 5.0]])) == pytest.approx(1 / 3)
    assert np.isnan(face_similarity(references[1:], np.array([[2.0, 0.0]])))
