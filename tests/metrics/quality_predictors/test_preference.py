"""PickScore and HPSv2: cosines in a CLIP, with or without its scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from lycoris.encoders import open_encoder
from lycoris.errors import InputError
from lycoris.metrics import PromptSpec
from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.quality_predictors import open_quality_predictors
from tests.encoders.test_encoders import noise_image, write_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "clip", "clip")


@pytest.mark.parametrize("metric", ["pick_score", "hps"])
def test_the_preference_is_the_logit_of_the_model_itself(folder: Path, metric: str) -> None:
    images = [noise_image(40, 40, n) for n in range(4)]
    prompts = [PromptSpec("sks " + text, text, n) for n, text in enumerate(["a cat", "a dog", "a cat", "a b c"])]
    (predictor,) = open_quality_predictors([f"{metric}={folder}"], [])
    values = predictor.predict(PredictionInputs(images, prompts=prompts))
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    encoder = open_encoder(folder)
    length = model.config.text_config.max_position_embeddings
    texts = [prompt.evaluation for prompt in prompts]
    tokens = encoder._tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    pixels = torch.stack([encoder.preprocessing(image, "crop") for image in images])
    with torch.no_grad():
        logits = model(pixel_values=pixels, **tokens).logits_per_image.diagonal()
    scale = 1.0 if metric == "pick_score" else float(model.logit_scale.exp())
    np.testing.assert_allclose(values[:, 0], logits.numpy() / scale, rtol=1e-5, atol=1e-5)
    mixed = predictor.predict(PredictionInputs(images[::-1], prompts=prompts[::-1]))
    np.testing.assert_allclose(mixed[::-1], values, atol=1e-5)


def test_a_network_without_texts_is_an_error(tmp_path: Path) -> None:
    folder = write_encoder(tmp_path / "dino", "dinov2")
    with pytest.raises(InputError, match="reads no text"):
        open_quality_predictors([f"pick_score={folder}"], [])
    with pytest.raises(InputError, match="needs its model"):
        open_quality_predictors(["pick_score"], [])
    with pytest.raises(InputError, match="needs no file"):
        open_quality_predictors(["colour_drift=x"], [])
    with pytest.raises(InputError, match="named once"):
        open_quality_predictors(["colour_drift", "colour_drift"], [])
    with pytest.raises(InputError, match="there is none"):
        open_quality_predictors([f"copy_rate={tmp_path / 'none.pt'}"], [])
    assert Image.MAX_IMAGE_PIXELS
