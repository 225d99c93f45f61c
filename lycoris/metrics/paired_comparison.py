"""Two adapters on the same prompts and seeds: every metric of both, and the interval of their difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lycoris.errors import InputError
from lycoris.metrics.compare import compare_models
from lycoris.metrics.features import FeatureSet
from lycoris.metrics.score import Score


def compare_with_champion(
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
    for kind, own in challenger.items():
        other = champion[kind].aligned_with(own) if kind in champion else None
        if other is None or len(other) != len(champion[kind]):
            raise InputError(f"Challenger and champion must have drawn the same prompts and seeds, unlike in `{kind}`.")
    return compare_models(
        references, challenger, champion, base, category=category, seed=seed, resamples=resamples, metrics=metrics
    )
