"""What a study shows of its expectations, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from lycoris.analysis.statistics.expectations import (
    MIN_CONCEPTS,
    Expectation,
    ExpectationResult,
    ExpectationVerdict,
)
from lycoris.analysis.statistics.group_means import GroupMean
from lycoris.analysis.text.effect_text import level_label
from lycoris.analysis.text.formatting import counted, format_interval, format_number

VERDICT_ORDER: tuple[ExpectationVerdict, ...] = ("confirmed", "contradicted", "not confirmed")


def describe_expectation(expectation: Expectation) -> str:
    """An expectation in words, such as ``fidelity higher with `none` than with `all` (scenes)``."""
    levels = [level_label(expectation.factor, level) for level in (expectation.level, expectation.against)]
    where = "; ".join(f"{name.replace('_', ' ')} {' or '.join(values)}" for name, values in expectation.where.items())
    by = f" by more than {expectation.smallest_difference:g}" if expectation.smallest_difference else ""
    metric = expectation.metric.replace("_", " ")
    return (
        f"{metric} {expectation.direction}{by} with {levels[0]} than with {levels[1]}{f' ({where})' if where else ''}"
    )


def describe_result(result: ExpectationResult) -> str:
    """An expectation with the numbers that decide it, without the verdict."""
    text = describe_expectation(result.expectation)
    if result.effect is None:
        return f"{text}: the study has no runs to test it on"
    text += f": {_effect(result.effect)} over {counted(result.effect.groups, 'concept')}"
    if result.effect.groups < MIN_CONCEPTS:
        return f"{text}, too few to decide"
    p = "p < .001" if result.adjusted_p < 0.001 else f"p = {format_number(result.adjusted_p, 3)}"
    text += f", {p} after correction"
    if result.expectation.also_with:
        also = _effect(result.also) if result.also is not None else "no such scores"
        text += f"; with {', '.join(f'`{name}`' for name in result.expectation.also_with)} as well: {also}"
    return text


def describe_results(results: Sequence[ExpectationResult]) -> list[str]:
    """The results as sentences, the confirmed ones first."""
    return [
        f"{verdict.capitalize()}: {describe_result(result)}."
        for verdict in VERDICT_ORDER
        for result in results
        if result.verdict == verdict
    ]


def _effect(effect: GroupMean) -> str:
    return f"{format_number(effect.mean, 2, signed=True)} {format_interval(effect.low, effect.high, 2)}".rstrip()
