"""What the embedded models reach, measured on tag combinations that no training has shown.

`python -m lycoris.pocket.training report --work DIR` judges the committed weights: pictures drawn for 480 held-out
prompts, reconstructions of the autoencoder, and CLIP's zero-shot answers.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageClassification, CLIPModel, CLIPTokenizer

from lycoris.pocket import BASE, CLIP, JUDGE, TAGGER
from lycoris.pocket.models.labels import ATTRIBUTE_TAGS, attribute_accuracy
from lycoris.pocket.models.networks import CLASSIFIER_SPECS
from lycoris.pocket.training.classifiers import resize_images
from lycoris.pocket.training.clip import zero_shot
from lycoris.pocket.training.dataset import HELD_OUT_SEED, held_out_dataset, to_bytes
from lycoris.pocket.training.trainer import TimeBudget, device
from lycoris.pocket.training.vae import psnr, reconstruct
from lycoris.pocket.world.generator import sample_image, sample_split_tags
from lycoris.pocket.world.vocabulary import SPECIES, Tags, to_sentence

PROMPT_COUNT = 480
SAMPLING_STEPS, GUIDANCE_SCALE = 25, 5.0


def held_out_prompts(count: int = PROMPT_COUNT, seed: int = 480) -> list[Tags]:
    """Unseen combinations, every species equally often."""
    rng = random.Random(seed)
    wanted: list[Tags] = []
    while len(wanted) < count:
        tags = sample_split_tags(rng, held_out=True)
        if tags.species == SPECIES[len(wanted) % len(SPECIES)]:
            wanted.append(tags)
    return wanted


@torch.no_grad()
def generate_images(
    pipeline: StableDiffusionPipeline, prompts: list[str], first_seed: int = 0, batch: int = 48
) -> Tensor:
    """One picture in [-1, 1] a prompt, the n-th from seed `first_seed` + n; DDIM with 25 steps and guidance 5."""
    pipeline.set_progress_bar_config(disable=True)
    drawn = []
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
        ).images
        drawn.append(images.float().cpu() * 2 - 1)
    return torch.cat(drawn)


@torch.no_grad()
def judge_images(images: Tensor, tags: list[Tags], folder: Path = JUDGE) -> dict[str, float]:
    """Share of pictures that show what they should, attribute by attribute, in the eyes of a classifier."""
    network = AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).to(device()).eval()
    side = CLASSIFIER_SPECS[folder.name].image_size
    scores = [
        network(pixel_values=resize_images(part, side).to(device())).logits.float().cpu() for part in images.split(100)
    ]
    return attribute_accuracy(torch.cat(scores), tags)


def tagger_f1(count: int, detailed_fraction: float = 0.0) -> float:
    """F1 of the tagger, at its thresholds, over all tags of drawings of combinations that were held out.

    Args:
        count: drawings.
        individuals: share of them that show an individual with details.
    """
    from lycoris.captions import open_tagger

    tagger = open_tagger("pocket")
    drawn = [
        sample_image(HELD_OUT_SEED + number, held_out=True, detailed_fraction=detailed_fraction)
        for number in range(count)
    ]
    found = [set(tags) for tags in tagger.tags([picture for picture, _, _ in drawn])]
    shown = [{*tags.to_list(), *details} & tagger.categories.keys() for _, tags, details in drawn]
    right = sum(len(one & other) for one, other in zip(found, shown, strict=True))
    return 2 * right / sum(len(one) + len(other) for one, other in zip(found, shown, strict=True))


def image_grid(images: Tensor, columns: int = 16, zoom: int = 1) -> Image.Image:
    """Pictures side by side on white."""
    cell = 66
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * cell, rows * cell), "white")
    for index, picture in enumerate(to_bytes(images)):
        page.paste(Image.fromarray(picture), ((index % columns) * cell + 1, (index // columns) * cell + 1))
    return page.resize((page.width * zoom, page.height * zoom), Image.Resampling.NEAREST)


def markdown_table(result: dict) -> str:
    """The measurements as a Markdown table, one row for each thing measured."""
    attributes = list(ATTRIBUTE_TAGS)
    lines = ["| | " + " | ".join(attributes) + " |", "|---|" + "---|" * len(attributes)]
    for name, values in result.items():
        if isinstance(values, dict):
            cells = [f"{values[key]:.3f}".removeprefix("0") for key in attributes]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    scalars = [f"{name}: {value:.2f}" for name, value in result.items() if not isinstance(value, dict)]
    return "\n".join([*lines, "", *scalars])


def evaluate_weights(work: Path, budget: TimeBudget | None = None, prompts: int = PROMPT_COUNT) -> dict:
    """Measure the committed weights and write `report.json`, `report.md` and two sheets into the work folder."""
    del budget
    torch.manual_seed(0)
    unseen = held_out_dataset(work)
    real = unseen.batch(slice(0, 480))
    pipeline = StableDiffusionPipeline.from_pretrained(BASE, torch_dtype=torch.float32).to(device())
    vae: AutoencoderKL = pipeline.vae
    again = reconstruct(vae, real)
    wanted = held_out_prompts(prompts)
    drawn = generate_images(pipeline, [to_sentence(tags) for tags in wanted])
    clip = CLIPModel.from_pretrained(CLIP, dtype=torch.float32).to(device())
    result = {
        "real pictures": judge_images(real, unseen.tags[:480]),
        "their reconstructions by the VAE": judge_images(again, unseen.tags[:480]),
        "pictures drawn for 480 prompts": judge_images(drawn, wanted),
        "real pictures, seen by the tagger": judge_images(real, unseen.tags[:480], TAGGER),
        "real pictures, CLIP zero-shot": zero_shot(clip, CLIPTokenizer.from_pretrained(CLIP), work),
        "PSNR of reconstructions in dB": psnr(vae, work),
        "F1 of the tagger": tagger_f1(480),
        "F1 of the tagger, of individuals": tagger_f1(480, detailed_fraction=1.0),
    }
    (work / "report.json").write_text(json.dumps(result, indent=1))
    image_grid(drawn[:96]).save(work / "samples.png")
    image_grid(torch.stack([real[:32], again[:32]], 1).flatten(0, 1)).save(work / "reconstructions.png")
    (work / "report.md").write_text(markdown_table(result) + "\n")
    print(markdown_table(result))
    return result
