"""The tags of the pocket world as labels of its classifiers."""

from __future__ import annotations

from lycoris.pocket.world.vocabulary import ACCESSORIES, BACKGROUNDS, COLOURS, DETAILS, SPECIES, STYLES

ATTRIBUTE_TAGS: dict[str, tuple[str, ...]] = {
    "species": SPECIES,
    "colour": COLOURS,
    "accessory": ACCESSORIES,
    "background": BACKGROUNDS,
    "style": tuple(f"{style} style" for style in STYLES),
}
"""Tags by attribute, in the order of the classifiers' outputs."""
ATTRIBUTE_LABELS = tuple(tag for tags in ATTRIBUTE_TAGS.values() for tag in tags)
LABELS = (*ATTRIBUTE_LABELS, *DETAILS)


def label_columns(attribute: str) -> slice:
    """Columns of a classifier's outputs that belong to an attribute."""
    names = list(ATTRIBUTE_TAGS)
    start = sum(len(ATTRIBUTE_TAGS[name]) for name in names[: names.index(attribute)])
    return slice(start, start + len(ATTRIBUTE_TAGS[attribute]))
