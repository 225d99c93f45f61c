"""Which of a tagger's confidences become tags: a threshold a category, and one tag at most of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lycoris.captions.taggers.labels import GENERAL_CATEGORY, Label
from lycoris.errors import InputError, unknown_name_error

DEFAULT_THRESHOLDS: Mapping[str, float] = {GENERAL_CATEGORY: 0.35, "character": 0.85}
"""Least confidence by category; 0.5 for any other."""
_FALLBACK_THRESHOLD = 0.5
EXCLUSIVE_CATEGORIES = frozenset({"species", "colour", "accessory", "background", "style", "rating"})
"""Categories of which a picture has one tag or none."""
IGNORED_CATEGORIES = frozenset({"rating", "meta"})
"""Categories that say nothing of what is to be seen; they give tags only where a threshold is given for them."""


def resolve_thresholds(labels: Sequence[Label], overrides: Mapping[str, float] | None = None) -> dict[str, float]:
    """Category -> least confidence, for every category that gives tags.

    Args:
        labels: of the tagger.
        given: over `THRESHOLDS`; each in (0, 1).

    Raises:
        InputError: no label has such a category, or a threshold is outside of (0, 1).
    """
    overrides = overrides or {}
    known = {label.category for label in labels}
    for category, value in overrides.items():
        if category not in known:
            raise unknown_name_error("tag category", category, known)
        if not 0 < value < 1:
            raise InputError(f"The threshold of `{category}` must be in (0, 1), but got {value}.")
    used = [category for category in known if category not in IGNORED_CATEGORIES or category in overrides]
    return {
        category: overrides.get(category, DEFAULT_THRESHOLDS.get(category, _FALLBACK_THRESHOLD)) for category in used
    }


def tag_categories(labels: Sequence[Label], thresholds: Mapping[str, float]) -> dict[str, str]:
    """Every tag that may be given -> its category."""
    return {label.tag: label.category for label in labels if label.category in thresholds}


def select_tags(
    confidences: Sequence[float], labels: Sequence[Label], thresholds: Mapping[str, float]
) -> dict[str, float]:
    """The tags of one picture, best first: those above their category's threshold, of `ONE_AT_MOST` the best.

    Args:
        confidences: in [0, 1], one a label.
        labels: in the same order.
        thresholds: category -> least confidence; a category that is not there gives no tags.
    """
    found = [
        (confidence, label)
        for confidence, label in zip(confidences, labels, strict=True)
        if confidence >= thresholds.get(label.category, 2.0)
    ]
    kept: dict[str, float] = {}
    taken: set[str] = set()
    for confidence, label in sorted(found, key=lambda pair: (-pair[0], pair[1].tag)):
        if label.category in EXCLUSIVE_CATEGORIES:
            if label.category in taken:
                continue
            taken.add(label.category)
        kept[label.tag] = round(confidence, 4)
    return kept
