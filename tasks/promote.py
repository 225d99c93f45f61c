"""Who is champion of each concept, by the stated rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task

from lycoris.analysis import Champion, select_champion


@task(name="ranks", task_run_name="ranks {concept}")
def choose_champion(
    concept: str, scores: Mapping[str, Sequence[Mapping[str, Any]]], file_sizes: Mapping[str, int]
) -> Champion | None:
    """Choose among the adapters of one concept.

    Args:
        concept: its name.
        scored: adapter name -> its score records.
        sizes: adapter name -> bytes of its file.

    Returns:
        The choice, or None when nothing was scored.
    """
    rows = [{**record, "adapter": name} for name, records in scores.items() for record in records]
    return select_champion(rows, file_sizes)
