"""Which adapters are trained at once on one base."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def co_training_groups(items: Sequence[tuple[Hashable, Item]], max_size: int, workers: int) -> list[list[Item]]:
    """Divide trainings among groups that each go on at once.

    Those of one kind go together, since their changes of the weights are of one shape; no process is left idle for it.

    Args:
        items: kind and training.
        at_once: at most so many in a group.
        workers: processes that take a group each.

    Returns:
        Groups of nearly equal size, in the order of the trainings.
    """
    most = max(1, min(max_size, len(items) // workers))
    kinds: dict[Hashable, list[Item]] = {}
    for kind, item in items:
        kinds.setdefault(kind, []).append(item)
    found = []
    for some in kinds.values():
        count = math.ceil(len(some) / most)
        cuts = [round(len(some) * place / count) for place in range(count + 1)]
        found += [some[start:stop] for start, stop in itertools.pairwise(cuts)]
    return found
