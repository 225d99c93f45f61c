"""The agreement of encoders and resize modes, in sentences."""

from __future__ import annotations

import pandas as pd

from lycoris.analysis.statistics.encoder_agreement import ATTRIBUTE_PLURALS, EncoderAgreement
from lycoris.analysis.text.formatting import format_interval, format_number


def describe_encoder_agreement(agreement: EncoderAgreement) -> list[str]:
    """What the choice of encoder and resize mode changes, a sentence each."""
    sentences = []
    for attribute, plural in ATTRIBUTE_PLURALS.items():
        own = agreement.alike[agreement.alike["differ"] == attribute]
        if not own.empty:
            sentences.append(_describe_correlations(own, plural))
    if not agreement.first.empty:
        best = agreement.first.drop(columns=["metric", "prompt_type"])
        same = (best.nunique(axis=1) == 1).sum()
        sentences.append(
            f"The same configuration is best in every encoder and mode for {same} of {len(best)} pairs of metric and "
            "prompt type."
        )
    if not agreement.conclusions.empty:
        sentences.append(_describe_conclusions(agreement.conclusions))
    return sentences


def _describe_correlations(correlations: pd.DataFrame, plural: str) -> str:
    lowest = correlations.loc[correlations["correlation"].idxmin()]
    ends = format_interval(lowest["low"], lowest["high"], 2) if not pd.isna(lowest["low"]) else ""
    mean = format_number(correlations["correlation"].mean(), 2)
    return (
        f"Two {plural} rank adapters with a mean correlation of {mean} over {len(correlations)} pairs; "
        f"{lowest['first']} and {lowest['second']} agree least, in {lowest['metric']}: "
        f"{format_number(lowest['correlation'], 2)} {ends}".rstrip()
        + "."
    )


def _describe_conclusions(table: pd.DataFrame) -> str:
    shown = table[(table["better"] > 0) | (table["worse"] > 0)]
    both = shown[(shown["better"] > 0) & (shown["worse"] > 0)]
    unanimous = shown[(shown["better"] == shown["views"]) | (shown["worse"] == shown["views"])]
    examples = ", ".join(
        f"{row.level} - {row.against} in {row.metric}/{row.prompt_type}" for row in both.head(5).itertuples()
    )
    return (
        f"Of {len(table)} comparisons {len(shown)} are shown by some encoder or mode, {len(unanimous)} of them by all; "
        f"{len(both)} are shown in both directions" + (f": {examples}." if examples else ".")
    )
