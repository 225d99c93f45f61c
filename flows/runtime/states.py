"""Final states of flow runs: one whose every part has failed is Failed, and has a result nevertheless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from prefect.states import Completed, Failed

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

MAX_NAMED = 5
"""How many failed parts a state's message names before it only counts them."""


def failure_message(parts: Sequence[Mapping[str, Any]], kind: str) -> str:
    """How many parts have failed and why, in one sentence; empty if none has.

    Args:
        parts: records, each with an ``error`` if it has failed, and a ``label``.
        kind: what a part is, in the plural.
    """
    failed = [part for part in parts if part.get("error")]
    if not failed:
        return ""
    named = "; ".join(f"{part['label']}: {part['error']}" for part in failed[:MAX_NAMED])
    more = f"; and {len(failed) - MAX_NAMED} more" if len(failed) > MAX_NAMED else ""
    return f"{len(failed)} of {len(parts)} {kind} failed: {named}{more}."


def final_state(result: dict[str, Any], parts: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """What a flow returns: its result, in a state that names the parts that have failed.

    Args:
        result: of the flow.
        parts: see `failure_message`; if there are some and all have failed, the state is Failed, else Completed.
        kind: what a part is, in the plural.
    """
    message = failure_message(parts, kind)
    if not message:
        return result
    state = Failed if all(part.get("error") for part in parts) else Completed
    return cast("dict[str, Any]", state(message=message, data=result))  # Prefect takes states for results


def flow_result(state: State[dict[str, Any]]) -> dict[str, Any]:
    """The result of a flow run in a final state, also of one that failed with a result.

    Raises:
        Exception: what the flow raised.
    """
    result = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        raise result
    return result
