"""What encoder and resize mode change: how alike they rank adapters, who comes first, and what would be concluded."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from lycoris.analysis.statistics.correlations import Correlations, differing_attribute
from lycoris.analysis.statistics.measures import ALL_COMBINED, COSTS
from lycoris.analysis.statistics.ranking import Ranking, mean_over_groups
from lycoris.analysis.text.formatting import format_interval, format_number

ATTRIBUTE_PLURALS = {"encoder": "encoders", "resize_mode": "resize modes"}


@dataclass(frozen=True, eq=False)
class EncoderAgreement:
    """Adapters as several encoders and resize modes see them.

    Attributes:
        alike: ``metric``, ``differ`` (``encoder`` or ``resize_mode``), ``first``, ``second`` and the rank
            ``correlation`` of adapters within concepts, with its interval ``low`` to ``high`` over concepts.
        first: ``metric``, ``prompt_type`` and for each encoder and mode the configuration with the best mean rank.
        conclusions: ``factor``, ``level``, ``against``, ``metric``, ``prompt_type``; how many encoders and modes show
            the level ``better``, how many ``worse``, of how many ``views``.
    """

    alike: pd.DataFrame
    first: pd.DataFrame
    conclusions: pd.DataFrame


def encoder_agreement(ranking: Ranking, correlations: Correlations, effects: pd.DataFrame) -> EncoderAgreement:
    """What changes with encoder and resize mode.

    Args:
        ranking: of a table of scores.
        correlations: of :func:`lycoris.analysis.statistics.correlations.correlate` for it.
        effects: of :func:`lycoris.analysis.statistics.effects.effects` for it.
    """
    return EncoderAgreement(
        _rank_correlations(correlations), _best_configurations(ranking), _conclusions_by_encoder(effects)
    )


def _rank_correlations(found: Correlations) -> pd.DataFrame:
    gathered: dict[tuple[str, str, str, str], list[np.ndarray]] = {}
    for (i, one), (j, other) in combinations(enumerate(found.measures), 2):
        thing = differing_attribute(one, other)
        if one.metric == other.metric and thing in ATTRIBUTE_PLURALS and one.metric not in COSTS:
            names = (one.encoder, other.encoder)
            first, second = names if thing == "encoder" else (one.resize_mode, other.resize_mode)
            gathered.setdefault((one.metric, thing, first, second), []).append(found.by_group[:, i, j])
    rows = []
    for (metric, thing, first, second), correlations in gathered.items():
        stacked = np.stack(correlations, axis=1)
        known = ~np.isnan(stacked)
        by_group = np.where(known, stacked, 0.0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
        mean = mean_over_groups(by_group, minimum=-1.0)
        if mean is not None:
            row = {"metric": metric, "differ": thing, "first": first, "second": second, "correlation": mean["mean"]}
            rows.append({**row, "low": mean["low"], "high": mean["high"]})
    return pd.DataFrame(rows, columns=["metric", "differ", "first", "second", "correlation", "low", "high"])


def _best_configurations(ranking: Ranking) -> pd.DataFrame:
    known = ~np.isnan(ranking.group_ranks)
    count = known.sum(axis=1)
    means = np.where(count > 0, np.where(known, ranking.group_ranks, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for place, one in enumerate(ranking.measures):
        if one.encoder in ("", ALL_COMBINED) or one.metric in COSTS or np.isnan(means[:, place]).all():
            continue
        best = ranking.settings["config"].iloc[int(np.nanargmax(means[:, place]))]
        rows.setdefault((one.metric, one.prompt_type), {})[one.encoder] = str(best)
    told = [{"metric": key[0], "prompt_type": key[1], **best} for key, best in rows.items() if len(best) > 1]
    return pd.DataFrame(told)


def _conclusions_by_encoder(effects: pd.DataFrame) -> pd.DataFrame:
    names = ["factor", "level", "against", "metric", "prompt_type"]
    single = effects[~effects["encoder"].isin(["", ALL_COMBINED]) & ~effects["metric"].isin(COSTS)]
    single = single.assign(better=single["low"].astype(float) > 0, worse=single["high"].astype(float) < 0, views=1)
    turned = [tuple(sorted((str(row.level), str(row.against)))) for row in single.itertuples()]
    once = [pair[0] == str(level) for pair, level in zip(turned, single["level"], strict=True)]
    found = single[once].groupby(names, sort=False)[["better", "worse", "views"]].sum().reset_index()
    return found[found["views"] > 1]


def describe_encoder_agreement(agreement: EncoderAgreement) -> list[str]:
    """What changes, in lines."""
    lines = []
    for thing, plural in ATTRIBUTE_PLURALS.items():
        own = agreement.alike[agreement.alike["differ"] == thing]
        if own.empty:
            continue
        low = own.loc[own["correlation"].idxmin()]
        ends = format_interval(low["low"], low["high"], 2) if not pd.isna(low["low"]) else ""
        lines.append(
            f"Two {plural} rank adapters with a mean correlation of {format_number(own['correlation'].mean(), 2)} over "
            f"{len(own)} pairs; least alike are {low['first']} and {low['second']} in {low['metric']}, "
            f"{format_number(low['correlation'], 2)} {ends}".rstrip()
            + "."
        )
    if not agreement.first.empty:
        best = agreement.first.drop(columns=["metric", "prompt_type"])
        same = (best.nunique(axis=1) == 1).sum()
        lines.append(
            f"The same configuration comes first in every encoder and mode on {same} of {len(best)} pairs of metric "
            "and prompt type."
        )
    table = agreement.conclusions
    if not table.empty:
        shown = table[(table["better"] > 0) | (table["worse"] > 0)]
        both = shown[(shown["better"] > 0) & (shown["worse"] > 0)]
        every = shown[(shown["better"] == shown["views"]) | (shown["worse"] == shown["views"])]
        lines.append(
            f"Of {len(table)} comparisons {len(shown)} are shown in some encoder or mode, {len(every)} of them in all; "
            f"{len(both)} are shown both ways"
            + (": " + ", ".join(_comparison_label(row) for row in both.head(5).itertuples()) if len(both) else "")
            + "."
        )
    return lines


def _comparison_label(row: object) -> str:
    return f"{row.level} - {row.against} in {row.metric}/{row.prompt_type}"  # type: ignore[attr-defined]
