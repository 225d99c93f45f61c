"""What the choice of encoder and resize mode changes: ranks of adapters, the best setting, and conclusions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from lycoris.analysis.statistics.correlations import Correlations, differing_attribute
from lycoris.analysis.statistics.group_means import mean_of_known, mean_over_groups
from lycoris.analysis.statistics.measures import ALL_COMBINED, COSTS
from lycoris.analysis.statistics.ranking import Ranking

ATTRIBUTE_PLURALS = {"encoder": "encoders", "resize_mode": "resize modes"}


@dataclass(frozen=True, eq=False)
class EncoderAgreement:
    """How several encoders and resize modes rank the same adapters.

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
        effects: of :func:`lycoris.analysis.statistics.effects.compute_effects` for it.
    """
    return EncoderAgreement(
        _rank_correlations(correlations), _best_configurations(ranking), _conclusions_by_encoder(effects)
    )


def _rank_correlations(correlations: Correlations) -> pd.DataFrame:
    by_pair: dict[tuple[str, str, str, str], list[np.ndarray]] = {}
    for (i, one), (j, other) in combinations(enumerate(correlations.measures), 2):
        attribute = differing_attribute(one, other)
        if one.metric == other.metric and attribute in ATTRIBUTE_PLURALS and one.metric not in COSTS:
            encoders = (one.encoder, other.encoder)
            first, second = encoders if attribute == "encoder" else (one.resize_mode, other.resize_mode)
            by_pair.setdefault((one.metric, attribute, first, second), []).append(correlations.by_group[:, i, j])
    rows = []
    for key, own in by_pair.items():
        mean = mean_over_groups(mean_of_known(np.stack(own, axis=1), axis=1), minimum=-1.0)
        if mean is not None:
            rows.append((*key, mean.mean, mean.low, mean.high))
    return pd.DataFrame(rows, columns=["metric", "differ", "first", "second", "correlation", "low", "high"])


def _best_configurations(ranking: Ranking) -> pd.DataFrame:
    means = mean_of_known(ranking.group_ranks, axis=1)
    best: dict[tuple[str, str], dict[str, str]] = {}
    for index, one in enumerate(ranking.measures):
        if one.encoder in ("", ALL_COMBINED) or one.metric in COSTS or np.isnan(means[:, index]).all():
            continue
        config = ranking.settings["config"].iloc[int(np.nanargmax(means[:, index]))]
        best.setdefault((one.metric, one.prompt_type), {})[one.encoder] = str(config)
    rows = [{"metric": key[0], "prompt_type": key[1], **own} for key, own in best.items() if len(own) > 1]
    return pd.DataFrame(rows)


def _conclusions_by_encoder(effects: pd.DataFrame) -> pd.DataFrame:
    names = ["factor", "level", "against", "metric", "prompt_type"]
    single = effects[~effects["encoder"].isin(["", ALL_COMBINED]) & ~effects["metric"].isin(COSTS)]
    single = single.assign(better=single["low"].astype(float) > 0, worse=single["high"].astype(float) < 0, views=1)
    pairs = [tuple(sorted((str(row.level), str(row.against)))) for row in single.itertuples()]
    once = [pair[0] == str(level) for pair, level in zip(pairs, single["level"], strict=True)]
    counts = single[once].groupby(names, sort=False)[["better", "worse", "views"]].sum().reset_index()
    return counts[counts["views"] > 1]
