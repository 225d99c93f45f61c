"""The tags of the world as labels of a classifier, and what share of pictures shows what it should."""

from __future__ import annotations

from torch import Tensor, zeros

from lycoris.pocket.stock import Stock
from lycoris.pocket.vocabulary import ACCESSORIES, BACKGROUNDS, COLOURS, DETAILS, SPECIES, STYLES, Tags

GROUPS: dict[str, tuple[str, ...]] = {
    "species": SPECIES,
    "colour": COLOURS,
    "accessory": ACCESSORIES,
    "background": BACKGROUNDS,
    "style": tuple(f"{style} style" for style in STYLES),
}
"""The attributes of the world and their tags."""
BASIC = tuple(tag for group in GROUPS.values() for tag in group)
LABELS = (*BASIC, *DETAILS)


def targets(stock: Stock, labels: tuple[str, ...]) -> Tensor:
    """One row of zeros and ones for every picture."""
    place = {label: column for column, label in enumerate(labels)}
    rows = zeros(len(stock), len(labels))
    for row, (tags, details) in enumerate(zip(stock.tags, stock.details, strict=True)):
        for tag in [*tags.listed(), *details]:
            if tag in place:
                rows[row, place[tag]] = 1
    return rows


def attribute_accuracy(scores: Tensor, tags: list[Tags], threshold: float = 0.0) -> dict[str, float]:
    """Share of pictures whose attribute is the one that scores highest.

    Args:
        scores: logits of shape (pictures, labels), the labels of `BASIC` first.
        tags: what each picture should show.
        threshold: logit under which there is no accessory.

    Returns:
        A number for each attribute; colour over the pictures that have one.
    """
    result, column = {}, 0
    for attribute, group in GROUPS.items():
        part = scores[:, column : column + len(group)]
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
