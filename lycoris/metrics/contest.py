"""Two adapters on the same prompts and seeds: every metric of both, and the interval of their difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lycoris.errors import InputError
from lycoris.metrics.compare import Score, _encoders, _estimate, _Sets, _verdict
from lycoris.metrics.features import FeatureSet
from lycoris.metrics.intervals import difference_interval
from lycoris.metrics.table import METRICS


def contest(
    references: FeatureSet,
    challenger: Mapping[str, FeatureSet],
    champion: Mapping[str, FeatureSet],
    base: Mapping[str, FeatureSet],
    *,
    category: str,
    seed: int = 0,
    resamples: int = 1000,
    metrics: Iterable[str] | None = None,
) -> list[Score]:
    """Every metric of a challenger beside that of the champion, paired by prompt and seed.

    Unlike `lycoris.metrics.compare` with the champion in the base's place, preservation is measured against the
    true base for both.

    Args:
        references: features of pictures that neither was trained on.
        challenger: prompt type -> features of its drawings.
        champion: the same of the other's, of the same prompts and seeds.
        base: the same of the untouched base's.
        category: of the concept.
        seed: of the resampling.
        resamples: their number.
        metrics: names; those that are ``by_default`` otherwise.

    Returns:
        Scores whose ``value`` is the challenger's and whose ``base`` is the champion's.

    Raises:
        InputError: the prompts and seeds of the two are not the same.
    """
    chosen = [name for name in METRICS if METRICS[name].by_default] if metrics is None else list(metrics)
    scores = []
    for kind, own in challenger.items():
        other = champion[kind].paired_with(own) if kind in champion else None
        if other is None or len(other) != len(champion[kind]):
            raise InputError(f"Challenger and champion must have drawn the same prompts and seeds, unlike in `{kind}`.")
        first, second = (_Sets(references, each, base.get(kind)) for each in (own, other))
        for name in chosen:
            if not METRICS[name].applies(kind, category):
                continue
            for encoder in _encoders(METRICS[name], first):
                scores.append(_score(f"{name}/{kind}/{encoder}", first, second, seed, resamples))
    return scores


def _score(name: str, first: _Sets, second: _Sets, seed: int, resamples: int) -> Score:
    metric = METRICS[name.split("/")[0]]
    value, rival = (_estimate(name, metric, sets, sets.own) for sets in (first, second))
    ends = difference_interval(value, rival, paired=True, seed=seed, resamples=resamples)
    known = value.value is not None and rival.value is not None
    return Score(
        name=name,
        value=value.value,
        low=None,
        high=None,
        base=rival.value,
        base_low=None,
        base_high=None,
        difference=value.value - rival.value if known else None,  # type: ignore[operator]
        difference_low=ends[0] if ends else None,
        difference_high=ends[1] if ends else None,
        dimension=metric.dimension,
        higher_is_better=metric.higher_is_better,
        verdict=_verdict(ends, metric.higher_is_better),
        count=len(first.own),
        note="; ".join(dict.fromkeys(note for note in (value.note, rival.note) if note)),
    )
