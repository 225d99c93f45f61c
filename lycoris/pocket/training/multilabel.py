"""Targets, loss and accuracy of the multi-label classifiers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lycoris.pocket.models.labels import ATTRIBUTE_TAGS, label_columns
from lycoris.pocket.training.dataset import WorldDataset
from lycoris.pocket.world.vocabulary import Tags


def target_matrix(dataset: WorldDataset, labels: Sequence[str]) -> Float[Tensor, "images labels"]:
    """Zeros and ones: whether each image shows each label."""
    columns = {label: column for column, label in enumerate(labels)}
    matrix = torch.zeros(len(dataset), len(labels))
    for row, (tags, details) in enumerate(zip(dataset.tags, dataset.details, strict=True)):
        for tag in [*tags.to_list(), *details]:
            if tag in columns:
                matrix[row, columns[tag]] = 1
    return matrix


def label_loss(logits: Float[Tensor, "images labels"], targets: Float[Tensor, "images labels"]) -> Float[Tensor, ""]:
    """Binary cross-entropy of every label plus cross-entropy within every attribute, averaged over a batch.

    The second term is a softmax over the logits of one attribute; for accessories it includes a logit of 0 for "none",
    the threshold of the sigmoids. The first term calibrates the sigmoids, the second separates the species several
    times sooner.

    Args:
        logits: outputs of a classifier, the labels of `ATTRIBUTE_LABELS` first.
        targets: zeros and ones.
    """
    total = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
    for attribute in ATTRIBUTE_TAGS:
        columns = label_columns(attribute)
        attribute_logits, attribute_targets = logits[:, columns], targets[:, columns]
        if attribute == "accessory":
            attribute_logits = F.pad(attribute_logits, (0, 1))
            attribute_targets = torch.cat([attribute_targets, 1 - attribute_targets.sum(1, keepdim=True)], 1)
        total = total - (attribute_targets * attribute_logits.log_softmax(1)).sum(1)
    return total.mean()


def attribute_accuracy(
    logits: Float[Tensor, "images labels"], tags: Sequence[Tags], threshold: float = 0.0
) -> dict[str, float]:
    """Share of images whose highest-scoring tag of each attribute is the true one.

    Args:
        logits: outputs of a classifier, the labels of `ATTRIBUTE_LABELS` first.
        tags: true attributes of each image.
        threshold: logit below which an image has no accessory.

    Returns:
        Accuracy by attribute, in [0, 1]; that of colour over the images that have one.
    """
    result = {}
    for attribute, names in ATTRIBUTE_TAGS.items():
        correct = []
        for row, true_tags in zip(logits[:, label_columns(attribute)], tags, strict=True):
            value = getattr(true_tags, attribute)
            if value is None and attribute == "colour":
                continue
            truth = f"{value} style" if attribute == "style" else value
            best = int(row.argmax())
            prediction = None if attribute == "accessory" and row[best] < threshold else names[best]
            correct.append(prediction == truth)
        result[attribute] = sum(correct) / max(1, len(correct))
    return result
