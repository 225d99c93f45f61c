"""Divide trainings into groups that one process trains at the same time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def co_training_groups(items: Sequence[tuple[Hashable, Item]], max_size: int, workers: int) -> list[list[Item]]:
    """Divide trainings into groups that are trained at the same time on one base.

    A group has one kind of training, since its weight updates must have the same shapes, and no worker is left idle.

    Args:
        items: kind and training.
        max_size: of a group.
        workers: processes, each of which trains one group at a time.

    Returns:
        Groups of nearly equal size, in the order of the trainings.
    """
    limit = max(1, min(max_size, len(items) // workers))
    by_kind: dict[Hashable, list[Item]] = {}
    for kind, item in items:
        by_kind.setdefault(kind, []).append(item)
    groups = []
    for members in by_kind.values():
        count = math.ceil(len(members) / limit)
        cuts = [round(len(members) * index / count) for index in range(count + 1)]
        groups += [members[start:stop] for start, stop in itertools.pairwise(cuts)]
    return groups
