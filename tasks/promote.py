"""Choose the best adapter of a concept, and make it the champion in the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from prefect import task

from lycoris.analysis import AdapterScore, Champion, select_champion
from lycoris.safety.redaction import redacting_errors
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking.client import TrackingServer
from tasks.tracking.promotion import promote_to_champion

if TYPE_CHECKING:
    from lycoris.metrics import Score


@task(name="ranks", task_run_name="ranks {concept}")
@redacting_errors
def choose_champion(
    concept: str, scores: Mapping[str, Sequence[Score]], file_sizes: Mapping[str, int]
) -> Champion | None:
    """Choose among the adapters of one concept.

    Args:
        scores: adapter name -> its scores.
        file_sizes: adapter name -> bytes of its file.

    Returns:
        The choice, or None if nothing was scored.
    """
    rows = [{**asdict(score), "adapter": name} for name, some in scores.items() for score in some]
    return select_champion(cast(list[AdapterScore], rows), file_sizes)


@task(name="registry", task_run_name="registry {concept}")
@redacting_errors
@retry_while_unavailable
def promote(server: TrackingServer, concept: str, version: str, reason: str) -> bool:
    """Give a concept's version the alias `champion`, and the previous champion the alias `previous`.

    Returns:
        False, and nothing is changed, if a person has rejected this version before.
    """
    return promote_to_champion(server, concept, version, reason)
