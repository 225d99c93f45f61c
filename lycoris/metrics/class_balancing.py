"""Class-balanced feature sets, as distances between distributions need them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lycoris.errors import InputError
from lycoris.metrics.features import FeatureSet


def balance_classes(sets: Mapping[str, FeatureSet]) -> FeatureSet:
    """Join the features of several classes (concepts or subclasses) with an equal number of images of each.

    Args:
        sets: class -> features. Each class is reduced to the size of the smallest, evenly over its rows.

    Returns:
        The arrays that all classes have, class by class; prompts if all classes have them.

    Raises:
        InputError: there is no class, or one is empty.

    Source: the class-balanced features of arXiv 2309.14859, for its Fréchet distance.
    """
    empty = [name for name, features in sets.items() if len(features) == 0]
    if not sets or empty:
        raise InputError(f"Argument `sets` must hold classes with images, but got {', '.join(empty) or 'none'}.")
    size = min(len(features) for features in sets.values())
    selected = [(features, np.arange(size) * len(features) // size) for features in sets.values()]
    shared = [key for key in selected[0][0].arrays if all(key in features.arrays for features, _ in selected)]
    arrays = {key: np.concatenate([features.arrays[key][rows] for features, rows in selected]) for key in shared}
    has_prompts = all(features.prompts for features, _ in selected)
    prompts = tuple(features.prompts[row] for features, rows in selected for row in rows) if has_prompts else ()
    return FeatureSet(arrays, prompts)
