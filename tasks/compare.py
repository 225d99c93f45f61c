"""Compare the images of two adapters on the same prompts and seeds."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from lycoris.cache.keys import source_hash
from tasks.artifacts import Artifact, RunContext
from tasks.runtime import progress
from tasks.runtime.cache import get_or_compute
from tasks.runtime.transfer import local_context
from tasks.score import SCORE_SOURCES, Scores, local_features, read_scores, write_scores


@task(name="differences", task_run_name="differences {label}")
def compare_adapters(
    context: RunContext,
    label: str,
    *,
    references: Artifact,
    first: Artifact,
    second: Artifact,
    base: Artifact,
    category: str,
) -> Scores:
    """Score two adapters against each other, unless the scores are cached.

    Args:
        context: of the run.
        label: shown to the user.
        references: features of the dataset's images.
        first: features of one adapter's images.
        second: of the other's, which take the place of the base in each score.
        base: features of the base's images.
        category: of the concept.
    """
    context = local_context(context)
    inputs = {
        "references": references.key,
        "first": first.key,
        "second": second.key,
        "base": base.key,
        "category": category,
        "code": source_hash(*SCORE_SOURCES),
    }

    def compute(folder: Path, bar: progress.StepProgress) -> None:
        from lycoris.metrics import compare_models

        one, other, control = (local_features(context, each) for each in (first, second, base))
        known = local_features(context, references)["references"]
        write_scores(folder, compare_models(known, one, other, control, category=category))

    return read_scores(get_or_compute(context, "differences", label, inputs, compute))


@task(name="contest", task_run_name="contest {label}")
def compare_with_champion(
    context: RunContext,
    label: str,
    *,
    references: Artifact,
    challenger: Artifact,
    champion: Artifact,
    base: Artifact,
    category: str,
) -> Scores:
    """Score a challenger against the champion of its concept, unless the scores are cached.

    Args:
        context: of the run.
        label: shown to the user.
        references: features of images that the challenger was not trained on.
        challenger: features of its images.
        champion: features of the champion's images, of the same prompts and seeds.
        base: features of the base's images.
        category: of the concept.
    """
    context = local_context(context)
    inputs = {
        "references": references.key,
        "challenger": challenger.key,
        "champion": champion.key,
        "base": base.key,
        "category": category,
        "code": source_hash(*SCORE_SOURCES),
    }

    def compute(folder: Path, bar: progress.StepProgress) -> None:
        from lycoris.metrics import compare_with_champion as compare

        features = [local_features(context, artifact) for artifact in (challenger, champion, base)]
        write_scores(folder, compare(local_features(context, references)["references"], *features, category=category))

    return read_scores(get_or_compute(context, "contest", label, inputs, compute))
