"""Groups of adapters that one process trains together on one base model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def co_training_groups(items: Sequence[tuple[Hashable, ItemT]], max_size: int, workers: int) -> list[list[ItemT]]:
    """Divide trainings into groups, each of which is trained together.

    A group holds trainings of one kind, since their updates have the same shapes. No worker is left idle.

    Args:
        items: Pairs of kind and training.
        max_size: The largest number of trainings in a group.
        workers: The number of processes, each of which takes a group.

    Returns:
        Groups of nearly equal size, in the order of the trainings.
    """
    size = max(1, min(max_size, len(items) // workers))
    by_kind: dict[Hashable, list[ItemT]] = {}
    for kind, item in items:
        by_kind.setdefault(kind, []).append(item)
    groups = []
    for members in by_kind.values():
        count = math.ceil(len(members) / size)
        cuts = [round(len(members) * index / count) for index in range(count + 1)]
        groups += [members[start:stop] for start, stop in itertools.pairwise(cuts)]
    return groups
