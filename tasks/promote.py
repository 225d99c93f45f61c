"""Who is champion of each concept, by the stated rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task

from lycoris.analysis import Choice, choose


@task(name="ranks", task_run_name="ranks {concept}")
def ranks(concept: str, scored: Mapping[str, Sequence[Mapping[str, Any]]], sizes: Mapping[str, int]) -> Choice | None:
    """Choose among the adapters of one concept.

    Args:
        concept: its name.
        scored: adapter name -> its score records.
        sizes: adapter name -> bytes of its file.

    Returns:
        The choice, or None when nothing was scored.
    """
    rows = [{**record, "adapter": name} for name, records in scored.items() for record in records]
    return choose(rows, sizes)
