"""Several classes as one set in which each counts alike, as distances between distributions want it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lycoris.errors import InputError
from lycoris.metrics.features import FeatureSet


def balance_classes(sets: Mapping[str, FeatureSet]) -> FeatureSet:
    """The features of several classes (concepts or subclasses) in one set, as many images of each.

    Args:
        sets: class -> features. Of each class as many images are taken as the smallest has, evenly over its rows.

    Returns:
        The arrays that all classes have, class by class; prompts where all have them.

    Raises:
        InputError: there is no class, or one is empty.

    Source: the class-balanced features of arXiv 2309.14859, for its Fréchet distance.
    """
    empty = [name for name, each in sets.items() if len(each) == 0]
    if not sets or empty:
        raise InputError(f"Argument `sets` must hold classes with images, but got {', '.join(empty) or 'none'}.")
    least = min(len(each) for each in sets.values())
    chosen = [(each, np.arange(least) * len(each) // least) for each in sets.values()]
    shared = [key for key in chosen[0][0].arrays if all(key in each.arrays for each, _ in chosen)]
    arrays = {key: np.concatenate([each.arrays[key][rows] for each, rows in chosen]) for key in shared}
    prompted = all(each.prompts for each, _ in chosen)
    prompts = tuple(each.prompts[row] for each, rows in chosen for row in rows) if prompted else ()
    return FeatureSet(arrays, prompts)
