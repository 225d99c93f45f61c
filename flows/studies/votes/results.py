"""What the votes of a study say: strengths of settings, a score of each adapter, and which metrics agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flows.studies.votes.vote_file import StoredVote, VoteFile
from lycoris.analysis.io.csv_files import parse_numbers, read_csv
from lycoris.analysis.statistics.agreement import mean_rank_correlation
from lycoris.analysis.statistics.group_means import mean_over_groups
from lycoris.analysis.statistics.measures import measure_from_name
from lycoris.analysis.statistics.preference_strengths import Strengths, Vote, fit_strengths
from lycoris.analysis.text.formatting import counted, format_interval, format_number
from lycoris.cache.atomic import atomic_write_text
from lycoris.report.run.schema import read_study_record

SCORES_FILE, STUDY_FILE, RESULT_FILE = "scores.csv", "study.json", "votes.json"
PREFERENCE_METRIC = "human_preference"
"""Name of the score; it forms a dimension of its own, `PREFERENCE`."""
PREFERENCE = "preference"
MIN_PAIRS = 3
"""With fewer compared pairs of adapters a metric is not decided."""


@dataclass(frozen=True)
class MetricAgreement:
    """How a metric agrees with the votes.

    Attributes:
        name: of the score.
        agreement: share of compared adapters where the better one by the metric won; half where it calls them equal.
        low, high: the 95 % interval over pairs of adapters; None where there are too few.
        correlation: Spearman's, of the metric with strengths of adapters, within concepts; None where not defined.
        pairs: how many pairs of adapters were compared.
    """

    name: str
    agreement: float
    low: float | None
    high: float | None
    correlation: tuple[float, float, float] | None
    pairs: int

    @property
    def verdict(self) -> str:
        """Whether the metric agrees: ``"agrees"``, ``"disagrees"`` or ``"not decided"``."""
        if self.low is None or self.high is None:
            return "not decided"
        return "agrees" if self.low > 0.5 else "disagrees" if self.high < 0.5 else "not decided"


@dataclass(frozen=True)
class VoteResults:
    """The result of all votes of a study.

    Attributes:
        votes: how many.
        voters: of how many voters.
        strengths: of the settings.
        adapters: name of an adapter -> its strength among those of its concept.
        metrics: the agreement of each score, the best first.
    """

    votes: int
    voters: int
    strengths: Strengths
    adapters: Mapping[str, float]
    metrics: Sequence[MetricAgreement]

    def lines(self) -> list[str]:
        """The result in words."""
        strengths = self.strengths
        lines = [
            f"{counted(self.votes, 'vote')} of {counted(self.voters, 'voter')}; strengths are logarithms of odds with "
            f"95 % intervals over {strengths.unit}s, odds of a tie {format_number(strengths.tie_odds, 2)}"
        ]
        for one in strengths.settings:
            interval = format_interval(one.low, one.high, 2)
            lines.append(f"  {format_number(one.value, 2, signed=True):>6} {interval}  {one.name}  ({one.votes})")
        for metric in self.metrics:
            interval = format_interval(metric.low, metric.high, 2) if metric.low is not None else ""
            share = f"{format_number(metric.agreement, 2)} {interval}"
            lines.append(f"  {metric.verdict:<12} {metric.name}  {share} of {counted(metric.pairs, 'pair')}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """The result as values that JSON can hold."""
        return {
            "votes": self.votes,
            "voters": self.voters,
            "unit": self.strengths.unit,
            "tie_odds": self.strengths.tie_odds,
            "settings": [asdict(one) for one in self.strengths.settings],
            "adapters": dict(self.adapters),
            "metrics": [{**asdict(one), "verdict": one.verdict} for one in self.metrics],
        }


def vote_results(folder: Path) -> VoteResults:
    """Fit the votes of a study, and compare every score with them.

    Args:
        folder: of the study, with votes and, for the metrics, its `scores.csv`.

    Raises:
        InputError: there are no votes, or a file is invalid.
    """
    votes = VoteFile(folder).votes
    strengths = fit_strengths([vote.on_settings for vote in votes])
    adapters = adapter_strengths(votes)
    scores = _adapter_scores(folder) if (folder / SCORES_FILE).is_file() else {}
    metrics = [_agreement(name, own, votes, adapters) for name, own in scores.items()]
    compared = sorted((one for one in metrics if one is not None), key=lambda one: -one.agreement)
    return VoteResults(len(votes), len({vote.voter for vote in votes}), strengths, adapters, compared)


def adapter_strengths(votes: Sequence[StoredVote]) -> dict[str, float]:
    """Return the strength of each adapter among those of its concept."""
    strengths: dict[str, float] = {}
    for concept in dict.fromkeys(vote.concept for vote in votes):
        own = [Vote(vote.left, vote.right, vote.answer) for vote in votes if vote.concept == concept]
        strengths |= {one.name: one.value for one in fit_strengths(own).settings}
    return strengths


def write_preference_scores(folder: Path, results: VoteResults) -> Path | None:
    """Write the strengths of adapters into the study's table as a score, in place of earlier ones, and the results.

    Returns:
        The table; None where the study has none.

    Raises:
        InputError: the table is invalid.
    """
    import json

    import pandas as pd

    atomic_write_text(folder / RESULT_FILE, json.dumps(results.as_json(), ensure_ascii=False, indent=1))
    file = folder / SCORES_FILE
    if not file.is_file():
        return None
    table = read_csv(file)
    table = table[table["name"] != PREFERENCE_METRIC]
    names = _adapter_names(folder)
    keys = [names.get(str(run), "") for run in table["run_id"]]
    first = table.loc[~pd.Series(keys, index=table.index).duplicated()].copy()
    first["value"] = [results.adapters.get(names.get(str(run), ""), float("nan")) for run in first["run_id"]]
    fixed = ("concept", "category", "config", "algorithm", "preset", "rank", "alpha", "factor", "learning_rate",
             "captions", "seed", "epoch", "steps", "pictures", "run_id", "value")  # fmt: skip
    added = first[first["value"].notna()][[name for name in fixed if name in first]]
    added = added.assign(name=PREFERENCE_METRIC, dimension=PREFERENCE, higher_is_better="True")
    whole = pd.concat([table, added.astype(str)], ignore_index=True).fillna("")
    return atomic_write_text(file, whole.to_csv(index=False))


def _adapter_names(folder: Path) -> dict[str, str]:
    """Run of an adapter in MLflow -> its name."""
    adapters = read_study_record(folder / STUDY_FILE).get("adapters", [])
    return {str(one["run_id"]): str(one["name"]) for one in adapters if one.get("run_id")}


def _adapter_scores(folder: Path) -> dict[str, dict[str, float]]:
    """Score -> adapter -> value, oriented so that higher is better."""
    table = read_csv(folder / SCORES_FILE)
    table = table[table["name"] != PREFERENCE_METRIC]
    names = _adapter_names(folder)
    values = parse_numbers(table["value"], folder / SCORES_FILE)
    scores: dict[str, dict[str, float]] = {}
    directions: dict[str, int] = {}
    for name, run, value, dimension, better in zip(
        table["name"], table["run_id"], values, table.get("dimension", table["name"]),
        table.get("higher_is_better", table["name"]), strict=True,
    ):  # fmt: skip
        if name not in directions:
            known = {"true": True, "false": False}.get(str(better).casefold())
            directions[name] = 1 if measure_from_name(str(name), dimension, known).higher_is_better else -1
        if str(run) in names and np.isfinite(value):
            scores.setdefault(name, {})[names[str(run)]] = directions[name] * float(value)
    return scores


def _agreement(
    name: str, scores: Mapping[str, float], votes: Sequence[StoredVote], strengths: Mapping[str, float]
) -> MetricAgreement | None:
    """Compare a score with the votes that are no ties; None where it has no value for any of them."""
    by_pair: dict[tuple[str, str], list[float]] = {}
    for vote in votes:
        if vote.answer == "tie" or vote.left not in scores or vote.right not in scores:
            continue
        winner, loser = (vote.left, vote.right) if vote.answer == "left" else (vote.right, vote.left)
        agrees = (np.sign(scores[winner] - scores[loser]) + 1) / 2
        by_pair.setdefault((min(winner, loser), max(winner, loser)), []).append(float(agrees))
    mean = mean_over_groups(np.array([np.mean(own) for own in by_pair.values()]), minimum=0.0)
    if mean is None:
        return None
    low, high = (mean.low, mean.high) if mean.groups >= MIN_PAIRS else (None, None)
    return MetricAgreement(name, mean.mean, low, high, _correlation(scores, votes, strengths), mean.groups)


def _correlation(
    scores: Mapping[str, float], votes: Sequence[StoredVote], strengths: Mapping[str, float]
) -> tuple[float, float, float] | None:
    concepts: dict[str, list[str]] = {}
    for vote in votes:
        for adapter in (vote.left, vote.right):
            own = concepts.setdefault(vote.concept, [])
            if adapter in scores and adapter not in own:
                own.append(adapter)
    pairs = [
        [(np.array([scores[one] for one in own]), np.array([strengths[one] for one in own]))]
        for own in concepts.values()
    ]
    return mean_rank_correlation(pairs, resamples=200)
