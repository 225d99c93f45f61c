"""A CLIP model of the pocket world: images and captions in one embedding space.

Two losses join CLIP's contrast of all images with all captions of a batch: each image is contrasted with its own
description with one attribute changed, and a linear head predicts its tags. Within a small training budget, these teach
the model to represent attributes separately.
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
from lycoris.pocket.models.labels import ATTRIBUTE_TAGS, LABELS
from lycoris.pocket.models.preprocessing import augment_images
from lycoris.pocket.training.classifiers import preprocessor_config
from lycoris.pocket.training.dataset import (
    batch_of_rows,
    detailed_dataset,
    held_out_dataset,
    plain_dataset,
    sample_rows,
)
from lycoris.pocket.training.multilabel import label_loss, target_matrix
from lycoris.pocket.training.trainer import TimeBudget, Trainer, TrainerConfig, device
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
    """Build the untrained model."""
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
    """A random caption that mentions details, such as "a cat with horns and heart in a room"."""
    if rng.random() < 0.35:
        words = [*tags.to_list(), *details]
        rng.shuffle(words)
        drop_rate = rng.choice(TAG_DROP_RATES)
        return ", ".join(word for word in words if rng.random() >= drop_rate)
    subject = f"{tags.species} with {' and '.join(details)}" if details and tags.species else None
    return to_sentence(tags, rng, rng.choice(TAG_DROP_RATES), subject)


def change_one_attribute(tags: Tags, rng: random.Random) -> Tags:
    """The tags with one random attribute replaced by another value."""
    attribute = rng.choice([name for name in ATTRIBUTE_VALUES if name != "colour" or tags.colour])
    others = [value for value in ATTRIBUTE_VALUES[attribute] if value != getattr(tags, attribute)]
    return replace(tags, **{attribute: rng.choice(others)})


def embed_text(clip: CLIPModel, ids: Tensor) -> Tensor:
    """Unit-norm text embeddings of shape (texts, width)."""
    pooled = clip.text_model(input_ids=ids).pooler_output
    return F.normalize(clip.text_projection(pooled), dim=-1)


def embed_images(clip: CLIPModel, images: Tensor) -> Tensor:
    """Unit-norm image embeddings of shape (images, width)."""
    pooled = clip.vision_model(pixel_values=images).pooler_output
    return F.normalize(clip.visual_projection(pooled), dim=-1)


def contrastive_loss(clip: CLIPModel, images: Tensor, captions: Tensor, true: Tensor, false: Tensor) -> Tensor:
    """CLIP's symmetric loss plus the cross-entropy of the true caption against one with a wrong attribute.

    Args:
        clip: the model, for its logit scale.
        images: embeddings of shape (batch, width).
        captions: embeddings of the images' captions.
        true: embeddings of the full true descriptions.
        false: embeddings of descriptions with one attribute changed.
    """
    scale = clip.logit_scale.clamp(max=4.0).exp()
    similarity = scale * images @ captions.T
    diagonal = torch.arange(len(images), device=images.device)
    contrast = (F.cross_entropy(similarity, diagonal) + F.cross_entropy(similarity.T, diagonal)) / 2
    pairs = scale * torch.stack([(images * true).sum(1), (images * false).sum(1)], 1)
    return contrast + F.cross_entropy(pairs, torch.zeros_like(diagonal))


def train_clip(work: Path, budget: TimeBudget, batch_size: int = 48, learning_rate: float = 2e-3) -> None:
    """Train CLIP and save it under `work/parts/clip`."""
    torch.manual_seed(5)
    tokenizer = build_tokenizer()
    clip = build_clip(tokenizer).to(device())
    warm_start(clip, CLIP)
    head = nn.Linear(EMBEDDING_WIDTH, len(LABELS)).to(device())
    config = TrainerConfig(learning_rate, average_decay=0.99)
    trainer = Trainer("clip", {"clip": clip, "head": head}, config, budget=budget, work=work)
    rng = random.Random(trainer.samples)
    datasets = [plain_dataset(work), detailed_dataset(work)]
    targets = [target_matrix(dataset, LABELS) for dataset in datasets]
    counts = (batch_size - batch_size // 3, batch_size // 3)
    while trainer.has_time():
        rows = sample_rows(datasets, counts, trainer.generator)
        images = augment_images(batch_of_rows(datasets, rows), trainer.generator).to(device())
        batch_targets = torch.cat([matrix[indices] for matrix, indices in zip(targets, rows, strict=True)]).to(device())
        labels = [
            (dataset.tags[row], dataset.details[row])
            for dataset, indices in zip(datasets, rows, strict=True)
            for row in indices.tolist()
        ]
        texts = [describe_with_details(tags, details, rng) for tags, details in labels]
        texts += [to_sentence(tags) for tags, _ in labels]
        texts += [to_sentence(change_one_attribute(tags, rng)) for tags, _ in labels]
        captions, true, false = embed_text(clip, token_ids(tokenizer, texts).to(device())).split(batch_size)
        features = embed_images(clip, images)
        loss = contrastive_loss(clip, features, captions, true, false)
        trainer.step(loss + 0.3 * label_loss(head(4 * features), batch_targets), batch_size)
    trainer.save()
    with trainer.averaged_weights():
        accuracy = zero_shot(clip, tokenizer, work)
        print("clip", {name: round(value, 3) for name, value in accuracy.items()}, flush=True)
        save_clip(clip, tokenizer, work / "parts" / "clip")


def save_clip(clip: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Save model, tokenizer and preprocessor configuration in the layout of transformers."""
    clip.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = {**preprocessor_config(64), "image_processor_type": "CLIPImageProcessor", "do_center_crop": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def zero_shot(clip: CLIPModel, tokenizer: CLIPTokenizer, work: Path, count: int = 300) -> dict[str, float]:
    """Zero-shot accuracy by attribute: the true caption against those with another value, on held-out images."""
    held_out = held_out_dataset(work)
    features = embed_images(clip, held_out.batch(slice(0, count)).to(device())).cpu()
    result = {}
    for attribute, values in ATTRIBUTE_VALUES.items():
        correct = []
        for row, tags in zip(features, held_out.tags[:count], strict=True):
            truth = getattr(tags, attribute)
            if truth is None and attribute == "colour":
                continue
            texts = [to_sentence(replace(tags, **{attribute: value})) for value in values]
            text_features = embed_text(clip, token_ids(tokenizer, texts).to(device())).cpu()
            correct.append(values[int((text_features @ row).argmax())] == truth)
        result[attribute] = sum(correct) / len(correct)
    assert set(result) == set(ATTRIBUTE_TAGS)
    return result
