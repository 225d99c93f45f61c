"""Compare the images of two adapters on the same prompts and seeds."""

from __future__ import annotations

from prefect import task

from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import Artifact, RunContext
from tasks.score import Scores, score_features


@task(name="differences", task_run_name="differences {label}")
@redacting_errors
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
        references: features of the dataset's images.
        first: features of one adapter's images.
        second: of the other's, which take the place of the base in each score.
        base: features of the base's images.
    """
    from lycoris.metrics import compare_models

    features = {"references": references, "first": first, "second": second, "base": base}
    return score_features(context, "differences", label, features, {"category": category}, compare_models)


@task(name="contest", task_run_name="contest {label}")
@redacting_errors
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
        references: features of images that the challenger was not trained on.
        challenger: features of its images.
        champion: features of the champion's images, of the same prompts and seeds.
        base: features of the base's images.
    """
    from lycoris.metrics import compare_with_champion

    features = {"references": references, "challenger": challenger, "champion": champion, "base": base}
    return score_features(context, "contest", label, features, {"category": category}, compare_with_champion)
