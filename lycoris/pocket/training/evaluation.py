"""Evaluation of the embedded models on tag combinations held out from training.

`python -m lycoris.pocket.training report --work DIR` evaluates the committed weights: images generated for 480 held-out
prompts, reconstructions by the autoencoder, the tagger, and zero-shot classification by CLIP.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, StableDiffusionPipeline
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageClassification, CLIPModel, CLIPTokenizer

from lycoris.pocket import BASE, CLIP, JUDGE, TAGGER
from lycoris.pocket.models.labels import ATTRIBUTE_TAGS
from lycoris.pocket.models.preprocessing import resize_images
from lycoris.pocket.training.clip import zero_shot
from lycoris.pocket.training.dataset import HELD_OUT_SEED, held_out_dataset, to_bytes
from lycoris.pocket.training.multilabel import attribute_accuracy
from lycoris.pocket.training.networks import CLASSIFIER_SPECS
from lycoris.pocket.training.trainer import TimeBudget, device
from lycoris.pocket.training.vae import psnr, reconstruct
from lycoris.pocket.world.generator import sample_image, sample_split_tags
from lycoris.pocket.world.vocabulary import SPECIES, Tags, to_sentence

PROMPT_COUNT = 480
SAMPLING_STEPS, GUIDANCE_SCALE = 25, 5.0


def held_out_prompts(count: int = PROMPT_COUNT, seed: int = 480) -> list[Tags]:
    """Sample held-out combinations with every species equally often."""
    rng = random.Random(seed)
    prompts: list[Tags] = []
    while len(prompts) < count:
        tags = sample_split_tags(rng, held_out=True)
        if tags.species == SPECIES[len(prompts) % len(SPECIES)]:
            prompts.append(tags)
    return prompts


@torch.no_grad()
def generate_images(
    pipeline: DiffusionPipeline, prompts: list[str], first_seed: int = 0, batch: int = 48, **options: Any
) -> Tensor:
    """Generate one image in [-1, 1] per prompt, image n from seed `first_seed` + n.

    Args:
        pipeline: a text-to-image pipeline.
        prompts: one per image.
        first_seed: seed of the first image.
        batch: images generated at once.
        options: further arguments of the pipeline's call.
    """
    pipeline.set_progress_bar_config(disable=True)
    generated = []
    for start in range(0, len(prompts), batch):
        rows = range(start, min(start + batch, len(prompts)))
        images = pipeline(
            [prompts[row] for row in rows],
            num_inference_steps=SAMPLING_STEPS,
            guidance_scale=GUIDANCE_SCALE,
            generator=[torch.Generator().manual_seed(first_seed + row) for row in rows],
            height=64,
            width=64,
            output_type="pt",
            **options,
        ).images
        generated.append(images.float().cpu() * 2 - 1)
    return torch.cat(generated)


@torch.no_grad()
def judge_images(images: Tensor, tags: list[Tags], folder: Path = JUDGE) -> dict[str, float]:
    """Share of images in which a classifier finds the expected tag, by attribute."""
    network = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).to(device()).eval()
    size = CLASSIFIER_SPECS[folder.name].image_size
    batches = [resize_images(batch, size).to(device()) for batch in images.split(100)]
    logits = torch.cat([network(pixel_values=batch).logits.float().cpu() for batch in batches])
    return attribute_accuracy(logits, tags)


def tagger_f1(count: int, detailed_fraction: float = 0.0) -> float:
    """F1 score of the tagger at its thresholds, over all tags of images of held-out combinations.

    Args:
        count: number of images.
        detailed_fraction: share of images that show a character with details, in [0, 1].
    """
    from lycoris.captions import open_tagger

    tagger = open_tagger("pocket")
    samples = [
        sample_image(HELD_OUT_SEED + number, held_out=True, detailed_fraction=detailed_fraction)
        for number in range(count)
    ]
    predictions = [set(tags) for tags in tagger.tags([image for image, _, _ in samples])]
    truths = [{*tags.to_list(), *details} & tagger.categories.keys() for _, tags, details in samples]
    pairs = list(zip(predictions, truths, strict=True))
    correct = sum(len(prediction & truth) for prediction, truth in pairs)
    return 2 * correct / sum(len(prediction) + len(truth) for prediction, truth in pairs)


def image_grid(images: Tensor, columns: int = 16, zoom: int = 1) -> Image.Image:
    """Arrange images in a grid on a white page."""
    cell = 66
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * cell, rows * cell), "white")
    for index, image in enumerate(to_bytes(images)):
        page.paste(Image.fromarray(image), ((index % columns) * cell + 1, (index // columns) * cell + 1))
    return page.resize((page.width * zoom, page.height * zoom), Image.Resampling.NEAREST)


Evaluation = dict[str, float | dict[str, float]]
"""Single values, and accuracies by attribute, by name."""


def markdown_table(result: Evaluation) -> str:
    """Format accuracies as a Markdown table, followed by the single values."""
    attributes = list(ATTRIBUTE_TAGS)
    lines = ["| | " + " | ".join(attributes) + " |", "|---|" + "---|" * len(attributes)]
    for name, values in result.items():
        if isinstance(values, dict):
            cells = [f"{values[key]:.3f}".removeprefix("0") for key in attributes]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    scalars = [f"{name}: {value:.2f}" for name, value in result.items() if not isinstance(value, dict)]
    return "\n".join([*lines, "", *scalars])


def evaluate_weights(work: Path, budget: TimeBudget | None = None, prompts: int = PROMPT_COUNT) -> Evaluation:
    """Evaluate the committed weights; write `report.json`, `report.md` and two image grids into the work folder."""
    del budget
    torch.manual_seed(0)
    held_out = held_out_dataset(work)
    real, real_tags = held_out.batch(slice(0, 480)), held_out.tags[:480]
    pipeline = StableDiffusionPipeline.from_pretrained(BASE, torch_dtype=torch.float32).to(device())
    vae: AutoencoderKL = pipeline.vae
    reconstructions = reconstruct(vae, real)
    prompted = held_out_prompts(prompts)
    generated = generate_images(pipeline, [to_sentence(tags) for tags in prompted])
    clip = CLIPModel.from_pretrained(CLIP, dtype=torch.float32).to(device())
    result: Evaluation = {
        "world images": judge_images(real, real_tags),
        "reconstructions by the VAE": judge_images(reconstructions, real_tags),
        "images generated for 480 prompts": judge_images(generated, prompted),
        "world images, classified by the tagger": judge_images(real, real_tags, TAGGER),
        "world images, CLIP zero-shot": zero_shot(clip, CLIPTokenizer.from_pretrained(CLIP), work),
        "PSNR of reconstructions in dB": psnr(vae, work),
        "F1 of the tagger": tagger_f1(480),
        "F1 of the tagger, characters with details": tagger_f1(480, detailed_fraction=1.0),
    }
    (work / "report.json").write_text(json.dumps(result, indent=1))
    image_grid(generated[:96]).save(work / "samples.png")
    image_grid(torch.stack([real[:32], reconstructions[:32]], 1).flatten(0, 1)).save(work / "reconstructions.png")
    (work / "report.md").write_text(markdown_table(result) + "\n")
    print(markdown_table(result))
    return result
