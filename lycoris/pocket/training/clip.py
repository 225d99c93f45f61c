"""A CLIP of the drawn world: images and captions in one space.

Beside the contrast of every image with every caption of the batch, each image is told apart from its own caption
with one attribute changed, and its features must give away its tags: on so small a budget, both are what make it
see attributes one by one.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from lycoris.pocket import CLIP
from lycoris.pocket.models.labels import ATTRIBUTE_TAGS, LABELS, label_loss, target_matrix
from lycoris.pocket.training.classifiers import augment_images, preprocessor_config
from lycoris.pocket.training.dataset import detailed_dataset, held_out_dataset, plain_dataset
from lycoris.pocket.training.trainer import TimeBudget, Trainer, device
from lycoris.pocket.training.unet import TAG_DROP_RATES, token_ids
from lycoris.pocket.training.warm_start import warm_start
from lycoris.pocket.world.vocabulary import (
    ACCESSORIES,
    BACKGROUNDS,
    COLOURS,
    MAX_TOKENS,
    SPECIES,
    STYLES,
    Tags,
    build_tokenizer,
    to_sentence,
)

EMBEDDING_WIDTH = 128
ATTRIBUTE_VALUES: dict[str, tuple[str | None, ...]] = {
    "species": SPECIES,
    "colour": COLOURS,
    "accessory": (None, *ACCESSORIES),
    "background": BACKGROUNDS,
    "style": STYLES,
}


def build_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": EMBEDDING_WIDTH,
        "intermediate_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": EMBEDDING_WIDTH,
    }
    vision = {
        "hidden_size": 160,
        "intermediate_size": 480,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 8,
        "projection_dim": EMBEDDING_WIDTH,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBEDDING_WIDTH))


def describe_with_details(tags: Tags, details: list[str], rng: random.Random) -> str:
    """A caption with its details: "a cat with horns and heart in a room"."""
    if rng.random() < 0.35:
        words = [*tags.to_list(), *details]
        rng.shuffle(words)
        dropped = rng.choice(TAG_DROP_RATES)
        return ", ".join(word for word in words if rng.random() >= dropped)
    subject = f"{tags.species} with {' and '.join(details)}" if details and tags.species else None
    return to_sentence(tags, rng, rng.choice(TAG_DROP_RATES), subject)


def change_one_attribute(tags: Tags, rng: random.Random) -> Tags:
    """The tags with one attribute changed."""
    attribute = rng.choice([name for name in ATTRIBUTE_VALUES if name != "colour" or tags.colour])
    others = [value for value in ATTRIBUTE_VALUES[attribute] if value != getattr(tags, attribute)]
    return replace(tags, **{attribute: rng.choice(others)})


def embed_text(clip: CLIPModel, ids: Tensor) -> Tensor:
    pooled = clip.text_model(input_ids=ids).pooler_output
    return F.normalize(clip.text_projection(pooled), dim=-1)


def embed_images(clip: CLIPModel, images: Tensor) -> Tensor:
    pooled = clip.vision_model(pixel_values=images).pooler_output
    return F.normalize(clip.visual_projection(pooled), dim=-1)


def train_clip(work: Path, budget: TimeBudget, batch: int = 48, rate: float = 2e-3) -> None:
    """Train and save under `work/parts/clip`."""
    torch.manual_seed(5)
    tokenizer = build_tokenizer()
    clip = build_clip(tokenizer).to(device())
    warm_start(clip, CLIP)
    head = nn.Linear(EMBEDDING_WIDTH, len(LABELS)).to(device())
    course = Trainer("clip", {"clip": clip, "head": head}, budget=budget, work=work, rate=rate, average=0.99)
    rng = random.Random(course.samples)
    stocks = [plain_dataset(work), detailed_dataset(work)]
    answers = [target_matrix(stock, LABELS) for stock in stocks]
    shares = (batch - batch // 3, batch // 3)
    own = torch.arange(batch, device=device())
    while course.has_time():
        chosen = [
            torch.randint(len(stock), (share,), generator=course.generator)
            for stock, share in zip(stocks, shares, strict=True)
        ]
        pictures = torch.cat([stock.batch(rows) for stock, rows in zip(stocks, chosen, strict=True)])
        pictures = augment_images(pictures, course.generator).to(device())
        wanted = torch.cat([answer[rows] for answer, rows in zip(answers, chosen, strict=True)]).to(device())
        shown = [(s.tags[row], s.details[row]) for s, rows in zip(stocks, chosen, strict=True) for row in rows.tolist()]
        texts = [describe_with_details(tags, details, rng) for tags, details in shown]
        full = [to_sentence(tags) for tags, _ in shown]
        wrong = [to_sentence(change_one_attribute(tags, rng)) for tags, _ in shown]
        ids = token_ids(tokenizer, texts + full + wrong).to(device())
        words = embed_text(clip, ids)
        captions, true, false = words.split(batch)
        seen = embed_images(clip, pictures)
        scale = clip.logit_scale.clamp(max=4.0).exp()
        scores = scale * seen @ captions.T
        contrast = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
        pairs = scale * torch.stack([(seen * true).sum(1), (seen * false).sum(1)], 1)
        told = F.cross_entropy(pairs, torch.zeros_like(own))
        course.step(contrast + told + 0.3 * label_loss(head(4 * seen), wanted), batch)
    course.save()
    with course.averaged_weights():
        print("clip", {name: round(value, 3) for name, value in zero_shot(clip, tokenizer, work).items()}, flush=True)
        folder = work / "parts" / "clip"
        clip.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        config = {**preprocessor_config(64), "image_processor_type": "CLIPImageProcessor", "do_center_crop": False}
        (folder / "preprocessor_config.json").write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def zero_shot(clip: CLIPModel, tokenizer: CLIPTokenizer, work: Path, count: int = 300) -> dict[str, float]:
    """Share of unseen pictures for which the true caption beats those with one attribute changed, by attribute."""
    unseen = held_out_dataset(work)
    seen = embed_images(clip, unseen.batch(slice(0, count)).to(device())).cpu()
    result = {}
    for attribute, choices in ATTRIBUTE_VALUES.items():
        right = []
        for row, tags in zip(seen, unseen.tags[:count], strict=True):
            truth = getattr(tags, attribute)
            if truth is None and attribute == "colour":
                continue
            texts = [to_sentence(replace(tags, **{attribute: value})) for value in choices]
            words = embed_text(clip, token_ids(tokenizer, texts).to(device())).cpu()
            right.append(choices[int((words @ row).argmax())] == truth)
        result[attribute] = sum(right) / len(right)
    assert set(result) == set(ATTRIBUTE_TAGS)
    return result
