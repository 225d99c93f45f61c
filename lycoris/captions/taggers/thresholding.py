"""The tags that a tagger's confidences give: one threshold per category, and one tag at most for some categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lycoris.captions.taggers.labels import GENERAL_CATEGORY, Label
from lycoris.errors import InputError, unknown_name_error

DEFAULT_THRESHOLDS: Mapping[str, float] = {GENERAL_CATEGORY: 0.35, "character": 0.85}
"""Category -> minimum confidence; 0.5 for any other category."""
_FALLBACK_THRESHOLD = 0.5
EXCLUSIVE_CATEGORIES = frozenset({"species", "colour", "accessory", "background", "style", "rating"})
"""Categories that give an image one tag at most."""
IGNORED_CATEGORIES = frozenset({"rating", "meta"})
"""Categories that do not describe the content of an image; they give tags only with an explicit threshold."""


def resolve_thresholds(
    labels: Sequence[Label], overrides: Mapping[str, float] | None = None, lowest: float = 0.0
) -> dict[str, float]:
    """Resolve the minimum confidence of every category that gives tags.

    Args:
        labels: the labels of the tagger.
        overrides: category -> threshold in (0, 1), in place of `DEFAULT_THRESHOLDS`.
        lowest: the lowest default threshold.

    Raises:
        InputError: no label has the category, or a threshold is outside (0, 1).
    """
    overrides = overrides or {}
    known = {label.category for label in labels}
    for category, value in overrides.items():
        if category not in known:
            raise unknown_name_error("tag category", category, known)
        if not 0 < value < 1:
            raise InputError(f"The threshold of `{category}` must be in (0, 1), but got {value}.")
    used = [category for category in known if category not in IGNORED_CATEGORIES or category in overrides]
    defaults = {category: max(lowest, DEFAULT_THRESHOLDS.get(category, _FALLBACK_THRESHOLD)) for category in used}
    return {category: overrides.get(category, defaults[category]) for category in used}


def select_tags(
    confidences: Sequence[float], labels: Sequence[Label], thresholds: Mapping[str, float]
) -> dict[str, float]:
    """Select the tags of one image: those that reach their threshold, and the best of each `EXCLUSIVE_CATEGORIES`.

    Args:
        confidences: one value in [0, 1] per label.
        labels: in the same order.
        thresholds: category -> minimum confidence; other categories give no tags.

    Returns:
        Tag -> confidence, highest first.
    """
    candidates = [
        (confidence, label)
        for confidence, label in zip(confidences, labels, strict=True)
        if confidence >= thresholds.get(label.category, 2.0)
    ]
    selected: dict[str, float] = {}
    filled: set[str] = set()
    for confidence, label in sorted(candidates, key=lambda pair: (-pair[0], pair[1].tag)):
        if label.category in EXCLUSIVE_CATEGORIES:
            if label.category in filled:
                continue
            filled.add(label.category)
        selected[label.tag] = round(confidence, 4)
    return selected
