"""The committed weights: small, in half precision, opened by the loading code of their full-size siblings."""

import csv
import json

import pytest
import torch
from safetensors import safe_open

from lycoris.pocket import BASE, CLIP, CONVNEXTV2, DINOV2, JUDGE, TAGGER, VGG, WEIGHTS
from lycoris.pocket.models.labels import ATTRIBUTE_LABELS, LABELS, attribute_accuracy
from lycoris.pocket.training.dataset import to_floats
from lycoris.pocket.training.evaluation import tagger_f1
from lycoris.pocket.world.generator import sample_image
from lycoris.pocket.world.vocabulary import WORDS


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def some_pictures(count: int) -> tuple[torch.Tensor, list]:
    import numpy as np

    drawn = [sample_image(20_000_000 + seed, held_out=True) for seed in range(count)]
    return to_floats(torch.from_numpy(np.stack([np.asarray(picture) for picture, _, _ in drawn]))), [
        tags for _, tags, _ in drawn
    ]


def test_all_weights_together_take_at_most_40_megabytes():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 40_000_000


@pytest.mark.parametrize("path", sorted(WEIGHTS.rglob("*.safetensors")), ids=lambda p: str(p.relative_to(WEIGHTS)))
def test_weights_are_finite_and_in_half_precision(path):
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(key)
            if tensor.is_floating_point():
                assert tensor.dtype == torch.float16
                assert torch.isfinite(tensor).all()


def test_the_base_draws_what_its_seed_says():
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(BASE, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def drawn(seed):
        generator = torch.Generator().manual_seed(seed)
        return pipeline("a red cat in a meadow, flat style", num_inference_steps=4, generator=generator).images[0]

    picture = drawn(0)
    assert picture.size == (64, 64)
    assert picture.tobytes() == drawn(0).tobytes()
    assert picture.tobytes() != drawn(1).tobytes()


def test_the_base_and_clip_read_every_word_as_one_token():
    from transformers import AutoTokenizer

    for folder in (BASE / "tokenizer", CLIP):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer.model_max_length == 32
        assert all(len(tokenizer.tokenize(word)) == 1 for word in WORDS)


def test_latents_are_white_so_that_the_scaling_factor_is_one():
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(BASE / "vae", torch_dtype=torch.float32)
    pictures, _ = some_pictures(64)
    with torch.no_grad():
        latents = vae.encode(pictures).latent_dist.mean
    assert vae.config.scaling_factor == 1
    assert latents.shape == (64, 4, 16, 16)
    assert latents.mean().abs() < 0.15
    assert 0.7 < latents.std() < 1.3


@pytest.mark.parametrize("folder", [CLIP, DINOV2, CONVNEXTV2], ids=lambda folder: folder.name)
def test_encoders_open_by_their_type_and_see_pictures_apart(folder):
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    assert model.config.model_type == folder.name
    preprocessing = json.loads((folder / "preprocessor_config.json").read_text())
    assert preprocessing["resample"] == 3
    assert preprocessing["image_mean"] == [0.5] * 3
    pictures, _ = some_pictures(8)
    with torch.no_grad():
        seen = model.vision_model(pictures) if folder == CLIP else model(pictures)
    features = torch.nn.functional.normalize(seen.pooler_output, dim=-1)
    assert (features @ features.T - torch.eye(8)).max() < 0.999


@pytest.mark.parametrize(("folder", "labels"), [(TAGGER, LABELS), (JUDGE, ATTRIBUTE_LABELS)], ids=["tagger", "judge"])
def test_classifiers_name_the_tags_of_the_captions(folder, labels):
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    assert model.config.problem_type == "multi_label_classification"
    assert tuple(model.config.id2label[index] for index in range(len(labels))) == labels
    with (folder / "selected_tags.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(row["name"] for row in rows) == labels
    assert {row["category"] for row in rows} >= {"species", "colour", "accessory", "background", "style"}


def test_the_tagger_names_what_unseen_pictures_show():
    from transformers import AutoModelForImageClassification

    tagger = AutoModelForImageClassification.from_pretrained(TAGGER, dtype=torch.float32).eval()
    pictures, tags = some_pictures(100)
    with torch.no_grad():
        found = attribute_accuracy(tagger(pictures).logits, tags)
    assert min(found.values()) > 0.8


@pytest.mark.parametrize("individuals", [0.0, 1.0])
def test_the_tagger_finds_the_tags_of_held_out_drawings(individuals):
    """Also those of individuals, such as horns and a heart."""
    assert tagger_f1(200, individuals) >= 0.95


def test_the_style_network_is_numbered_as_torchvision_numbers_it():
    config = json.loads((VGG / "config.json").read_text())
    assert len(config["channels"]) == len(config["depths"]) == 5
    place, expected, width = 0, {}, 3
    for channels, depth in zip(config["channels"], config["depths"], strict=True):
        for _ in range(depth):
            expected[f"features.{place}.weight"] = [channels, width, 3, 3]
            width, place = channels, place + 2
        place += 1
    with safe_open(VGG / "model.safetensors", "pt") as file:
        names = [key for key in file.keys() if key.endswith("weight")]  # noqa: SIM118
        found = {key: list(file.get_tensor(key).shape) for key in names}
    assert found == expected


def test_no_file_names_the_machine_it_was_trained_on():
    for file in WEIGHTS.rglob("*.json"):
        assert "_name_or_path" not in file.read_text(), file
