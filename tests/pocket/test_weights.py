"""The committed weights are small, in half precision and loadable by the code for their full-size counterparts."""

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from lycoris.pocket import BASE, CLIP, CONVNEXTV2, DINOV2, FLOW_BASE, JUDGE, TAGGER, VGG, WEIGHTS
from lycoris.pocket.models.labels import ATTRIBUTE_LABELS, LABELS
from lycoris.pocket.training.dataset import to_floats
from lycoris.pocket.training.evaluation import tagger_f1
from lycoris.pocket.training.export import MAX_WEIGHT_BYTES
from lycoris.pocket.training.multilabel import attribute_accuracy
from lycoris.pocket.world.generator import sample_image
from lycoris.pocket.world.vocabulary import WORDS


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def held_out_images(count: int) -> tuple[torch.Tensor, list]:
    import numpy as np

    samples = [sample_image(20_000_000 + seed, held_out=True) for seed in range(count)]
    return to_floats(torch.from_numpy(np.stack([np.asarray(image) for image, _, _ in samples]))), [
        tags for _, tags, _ in samples
    ]


def size_of(*folders: Path) -> int:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return sum(file.stat().st_size for file in files)


def test_weights_take_at_most_40_megabytes_and_the_flow_base_17_more():
    assert size_of(FLOW_BASE) <= 17_000_000
    assert size_of(WEIGHTS) - size_of(FLOW_BASE) <= 40_000_000
    assert size_of(WEIGHTS) <= MAX_WEIGHT_BYTES


def test_the_package_takes_at_most_60_megabytes():
    assert size_of(*(WEIGHTS.parents[2] / name for name in ("lycoris", "flows", "tasks"))) <= 60_000_000


@pytest.mark.parametrize("path", sorted(WEIGHTS.rglob("*.safetensors")), ids=lambda p: str(p.relative_to(WEIGHTS)))
def test_weights_are_finite_and_in_half_precision(path):
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(key)
            if tensor.is_floating_point():
                assert tensor.dtype == torch.float16
                assert torch.isfinite(tensor).all()


def test_the_base_generates_the_same_image_for_the_same_seed():
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(BASE, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def generate(seed):
        generator = torch.Generator().manual_seed(seed)
        return pipeline("a red cat in a meadow, flat style", num_inference_steps=4, generator=generator).images[0]

    image = generate(0)
    assert image.size == (64, 64)
    assert image.tobytes() == generate(0).tobytes()
    assert image.tobytes() != generate(1).tobytes()


def test_base_and_clip_tokenize_every_word_as_one_token():
    from transformers import AutoTokenizer

    for folder in (BASE / "tokenizer", CLIP):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer.model_max_length == 32
        assert all(len(tokenizer.tokenize(word)) == 1 for word in WORDS)


def test_latents_are_white_so_that_the_scaling_factor_is_one():
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(BASE / "vae", torch_dtype=torch.float32)
    images, _ = held_out_images(64)
    with torch.no_grad():
        latents = vae.encode(images).latent_dist.mean
    assert vae.config.scaling_factor == 1
    assert latents.shape == (64, 4, 16, 16)
    assert latents.mean().abs() < 0.15
    assert 0.7 < latents.std() < 1.3


@pytest.mark.parametrize("folder", [CLIP, DINOV2, CONVNEXTV2], ids=lambda folder: folder.name)
def test_encoders_load_by_their_type_and_give_images_different_features(folder):
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    assert model.config.model_type == folder.name
    preprocessing = json.loads((folder / "preprocessor_config.json").read_text())
    assert preprocessing["resample"] == 3
    assert preprocessing["image_mean"] == [0.5] * 3
    images, _ = held_out_images(8)
    with torch.no_grad():
        output = model.vision_model(images) if folder == CLIP else model(images)
    features = torch.nn.functional.normalize(output.pooler_output, dim=-1)
    assert (features @ features.T - torch.eye(8)).max() < 0.999


@pytest.mark.parametrize(("folder", "labels"), [(TAGGER, LABELS), (JUDGE, ATTRIBUTE_LABELS)], ids=["tagger", "judge"])
def test_classifiers_predict_the_tags_that_captions_use(folder, labels):
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    assert model.config.problem_type == "multi_label_classification"
    assert tuple(model.config.id2label[index] for index in range(len(labels))) == labels
    with (folder / "selected_tags.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(row["name"] for row in rows) == labels
    assert {row["category"] for row in rows} >= {"species", "colour", "accessory", "background", "style"}


def test_the_tagger_is_accurate_on_held_out_images():
    from transformers import AutoModelForImageClassification

    tagger = AutoModelForImageClassification.from_pretrained(TAGGER, dtype=torch.float32).eval()
    images, tags = held_out_images(100)
    with torch.no_grad():
        accuracy = attribute_accuracy(tagger(images).logits, tags)
    assert min(accuracy.values()) > 0.8


@pytest.mark.parametrize("detailed_fraction", [0.0, 1.0])
def test_the_tagger_finds_the_tags_of_held_out_images(detailed_fraction):
    """Details such as horns and a heart included."""
    assert tagger_f1(200, detailed_fraction) >= 0.95


def test_vgg_layers_are_numbered_as_in_torchvision():
    config = json.loads((VGG / "config.json").read_text())
    assert len(config["channels"]) == len(config["depths"]) == 5
    index, expected, width = 0, {}, 3
    for channels, depth in zip(config["channels"], config["depths"], strict=True):
        for _ in range(depth):
            expected[f"features.{index}.weight"] = [channels, width, 3, 3]
            width, index = channels, index + 2
        index += 1
    with safe_open(VGG / "model.safetensors", "pt") as file:
        names = [key for key in file.keys() if key.endswith("weight")]  # noqa: SIM118
        shapes = {key: list(file.get_tensor(key).shape) for key in names}
    assert shapes == expected


def test_no_file_names_the_folder_it_was_trained_in():
    for file in WEIGHTS.rglob("*.json"):
        assert "_name_or_path" not in file.read_text(), file
