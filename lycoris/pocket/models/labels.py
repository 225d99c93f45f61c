"""The tags of the world as labels of a classifier, and what share of pictures shows what it should."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lycoris.pocket.training.dataset import WorldDataset
from lycoris.pocket.world.vocabulary import ACCESSORIES, BACKGROUNDS, COLOURS, DETAILS, SPECIES, STYLES, Tags

ATTRIBUTE_TAGS: dict[str, tuple[str, ...]] = {
    "species": SPECIES,
    "colour": COLOURS,
    "accessory": ACCESSORIES,
    "background": BACKGROUNDS,
    "style": tuple(f"{style} style" for style in STYLES),
}
"""The attributes of the world and their tags."""
ATTRIBUTE_LABELS = tuple(tag for group in ATTRIBUTE_TAGS.values() for tag in group)
LABELS = (*ATTRIBUTE_LABELS, *DETAILS)


def target_matrix(dataset: WorldDataset, labels: tuple[str, ...]) -> Tensor:
    """One row of zeros and ones for every picture."""
    place = {label: column for column, label in enumerate(labels)}
    rows = torch.zeros(len(dataset), len(labels))
    for row, (tags, details) in enumerate(zip(dataset.tags, dataset.details, strict=True)):
        for tag in [*tags.to_list(), *details]:
            if tag in place:
                rows[row, place[tag]] = 1
    return rows


def label_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean loss of a batch: every label for itself, and within each attribute which of its tags it is.

    The second term is the cross-entropy of a softmax over an attribute's logits (for accessories with a logit of 0
    for none, where a sigmoid's threshold lies); it leaves the sigmoids to be calibrated by the first and learns to
    tell species apart several times sooner.

    Args:
        scores: logits of shape (pictures, labels), the labels of `BASIC` first.
        wanted: zeros and ones of the same shape.
    """
    total = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
    column = 0
    for attribute, group in ATTRIBUTE_TAGS.items():
        part, answer = (each[:, column : column + len(group)] for each in (logits, targets))
        column += len(group)
        if attribute == "accessory":
            part = F.pad(part, (0, 1))
            answer = torch.cat([answer, 1 - answer.sum(1, keepdim=True)], 1)
        total = total - (answer * part.log_softmax(1)).sum(1)
    return total.mean()


def attribute_accuracy(logits: Tensor, tags: list[Tags], threshold: float = 0.0) -> dict[str, float]:
    """Share of pictures whose attribute is the one that scores highest.

    Args:
        scores: logits of shape (pictures, labels), the labels of `BASIC` first.
        tags: what each picture should show.
        threshold: logit under which there is no accessory.

    Returns:
        A number for each attribute; colour over the pictures that have one.
    """
    result, column = {}, 0
    for attribute, group in ATTRIBUTE_TAGS.items():
        part = logits[:, column : column + len(group)]
        column += len(group)
        right = []
        for row, wanted in zip(part, tags, strict=True):
            value = getattr(wanted, attribute)
            if value is None and attribute == "colour":
                continue
            name = f"{value} style" if attribute == "style" else value
            best = int(row.argmax())
            guess = None if attribute == "accessory" and row[best] < threshold else group[best]
            right.append(guess == name)
        result[attribute] = sum(right) / max(1, len(right))
    return result
