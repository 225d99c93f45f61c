"""What a sealed study confirms, for its page and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.studies.sealing import SealState, compare_with_seal, definition_parts, read_seals
from lycoris.analysis.statistics.expectations import (
    EXPECTATIONS_RULE,
    ExpectationResult,
)
from lycoris.analysis.text.expectation_text import VERDICT_ORDER, describe_result
from lycoris.report.study.sealed import SealedAnswer, SealLine

if TYPE_CHECKING:
    from flows.studies.definition import Study

EXPLORATION = "Everything else on this page is exploration: it was not fixed before the study ran."


def sealed_answer(study: Study, folder: Path, results: Sequence[ExpectationResult]) -> SealedAnswer:
    """Sort the results of a study's expectations by what they confirm.

    Args:
        study: A study with expectations.
        folder: The folder of its results, with its ``seal.json``.
        results: Those of `evaluate_expectations`.

    Returns:
        The results by verdict where they were sealed before the study ran; otherwise all as exploration, with the
        reason in ``notes``.
    """
    seals = read_seals(folder)
    state = compare_with_seal(seals, definition_parts(study)) if seals else None
    lines = [
        SealLine(seal.sealed_at, seal.hash, seal.parts["code"]["version"], seal.after_results, len(seals) - number)
        for number, seal in enumerate(reversed(seals))
    ]
    if state is None or not state.confirms:
        groups = {"Exploration": [f"{describe_result(one)}." for one in results]}
        return SealedAnswer([_why_nothing_is_confirmed(state)], groups, EXPECTATIONS_RULE, lines)
    groups = {name.capitalize(): [f"{describe_result(one)}." for one in results if one.verdict == name]
              for name in VERDICT_ORDER}  # fmt: skip
    return SealedAnswer([_summary(results), EXPLORATION], groups, EXPECTATIONS_RULE, lines)


def expectations_json(answer: SealedAnswer, results: Sequence[ExpectationResult]) -> dict[str, Any]:
    """Return the seals and the numbers of each expectation as JSON values, as ``expectations.json`` has them."""
    return {
        "rule": answer.rule,
        "notes": list(answer.notes),
        "confirms": answer.confirms,
        "seals": [asdict(line) for line in answer.seals],
        "expectations": [asdict(one) for one in results],
    }


def _why_nothing_is_confirmed(state: SealState | None) -> str:
    end = "the expectations below are exploration like all of this page, and nothing is confirmed."
    if state is None:
        return f"This study was not sealed before it ran: {end}"
    if state.differences:
        return f"The study differs from its seal ({', '.join(state.differences)}): {end}"
    return f"This study was sealed when it had begun already: {end}"


def _summary(results: Sequence[ExpectationResult]) -> str:
    parts = ", ".join(f"{sum(one.verdict == name for one in results)} {name}" for name in VERDICT_ORDER)
    return f"Of {len(results)} expectations that were sealed before the study ran: {parts}."
