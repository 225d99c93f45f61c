"""Training of the head that answers questions about the drawn world, on features of the embedded DINOv2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Dinov2Model

from lycoris.pocket import DINOV2, VQA
from lycoris.pocket.models.labels import ATTRIBUTE_TAGS, LABELS, label_columns
from lycoris.pocket.models.preprocessing import augment_images
from lycoris.pocket.models.questions import QuestionHead, save_head
from lycoris.pocket.training.dataset import WorldDataset, detailed_dataset, held_out_dataset, plain_dataset
from lycoris.pocket.training.multilabel import target_matrix
from lycoris.pocket.training.trainer import TimeBudget
from lycoris.terms import TAG_QUESTION

SEED = 66
IMAGE_COUNTS = (5_000, 5_000)
"""Images without and with details."""
STEPS, ROWS_PER_STEP = 4_000, 1_024
LEARNING_RATE = 3e-3


def train_questions(work: Path, budget: TimeBudget) -> None:
    """Train the head and write it to the committed weights; it takes about a minute after the features.

    Args:
        work: work folder of all trainings.
        budget: ignored; present because every part of `python -m lycoris.pocket.training` takes one.
    """
    del budget
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    datasets = plain_dataset(work, IMAGE_COUNTS[0]), detailed_dataset(work, IMAGE_COUNTS[1])
    features = torch.cat([encode_dataset(dataset, generator) for dataset in datasets])
    shown = torch.cat([target_matrix(dataset, LABELS) for dataset in datasets])
    words = sorted({word for label in LABELS for word in label.split()})
    head = QuestionHead(words, features.shape[1])
    questions = head.encode([TAG_QUESTION.format(label) for label in LABELS])
    optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        rows, columns = sample_questions(shown, generator)
        loss = F.binary_cross_entropy_with_logits(head(features[rows], questions[columns]), shown[rows, columns])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    save_head(head.eval(), VQA)
    print("vqa", {name: round(value, 3) for name, value in question_accuracy(head, work).items()}, flush=True)


@torch.no_grad()
def encode_dataset(dataset: WorldDataset, generator: torch.Generator | None) -> Float[Tensor, "images width"]:
    """The features of degraded images; of the images themselves without a generator."""
    encoder: Any = Dinov2Model.from_pretrained(DINOV2, dtype=torch.float32).eval()
    parts = []
    for start in range(0, len(dataset), 100):
        images = dataset.batch(slice(start, start + 100))
        images = images if generator is None else augment_images(images, generator)
        parts.append(encoder(pixel_values=images).pooler_output)
    return torch.cat(parts)


def sample_questions(
    shown: Float[Tensor, "images labels"], generator: torch.Generator
) -> tuple[Int[Tensor, " rows"], Int[Tensor, " rows"]]:
    """Choose images and the labels that are asked for: half are shown by the image, half are any."""
    rows = torch.randint(len(shown), (ROWS_PER_STEP,), generator=generator)
    columns = torch.randint(shown.shape[1], (ROWS_PER_STEP,), generator=generator)
    half = ROWS_PER_STEP // 2
    columns[:half] = torch.multinomial(shown[rows[:half]] + 1e-9, 1, generator=generator)[:, 0]
    return rows, columns


@torch.no_grad()
def question_accuracy(head: QuestionHead, work: Path) -> dict[str, float]:
    """Share of right answers by attribute on held-out images: about the tag that is shown and another of its kind."""
    held_out = held_out_dataset(work)
    features, shown = encode_dataset(held_out, None), target_matrix(held_out, LABELS)
    questions = head.encode([TAG_QUESTION.format(label) for label in LABELS])
    generator = torch.Generator().manual_seed(SEED)
    result = {}
    for name in ATTRIBUTE_TAGS:
        part = shown[:, label_columns(name)]
        rows = part.sum(1).nonzero()[:, 0]
        true = part[rows].argmax(1)
        false = (true + torch.randint(1, part.shape[1], true.shape, generator=generator)) % part.shape[1]
        start = label_columns(name).start
        yes, no = (head(features[rows], questions[columns + start]) > 0 for columns in (true, false))
        result[name] = float(torch.cat([yes, ~no]).float().mean())
    return result
