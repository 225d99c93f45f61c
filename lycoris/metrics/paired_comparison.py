"""The comparison of a challenger with the champion on the same prompts and seeds."""

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
    """Compute every applicable metric for challenger and champion, paired by prompt and seed.

    Unlike `lycoris.metrics.compare` with the champion in place of the base, preservation is measured against the true
    base for both.

    Args:
        references: features of images that neither was trained on.
        challenger: prompt type -> features of its images.
        champion: the same of the champion, with the same prompts and seeds.
        base: the same of the untouched base.
        category: the concept's category.
        seed: seed of the resampling.
        resamples: number of resamples.
        metrics: names of metrics; by default those that are ``by_default``.

    Returns:
        Scores of the challenger; their ``base`` fields hold the champion's.

    Raises:
        InputError: the prompts and seeds of the two differ.
    """
    for prompt_type, own in challenger.items():
        aligned = champion[prompt_type].aligned_with(own) if prompt_type in champion else None
        if aligned is None or len(aligned) != len(champion[prompt_type]):
            raise InputError(
                f"Challenger and champion must have the same prompts and seeds, but those of `{prompt_type}` differ."
            )
    return compare_models(
        references, challenger, champion, base, category=category, seed=seed, resamples=resamples, metrics=metrics
    )
