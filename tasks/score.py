"""Score the images of an adapter against those of the base."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from lycoris.cache.keys import source_hash, stage_key
from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import Artifact, RunContext
from tasks.encode import FEATURES_FILE, LOOK_ALIKES
from tasks.runtime import progress
from tasks.runtime.cache import get_or_compute
from tasks.runtime.transfer import ensure_local, local_context

if TYPE_CHECKING:
    from lycoris.metrics import Score

SCORES_FILE = "scores.json"
SCORE_SOURCES = ("metrics", "terms.py")
"""Library code that scores depend on."""


@dataclass(frozen=True)
class Scores:
    """The scores of a stage, its content key, and whether it existed before."""

    key: str
    records: list[Score]
    cached: bool


@task(name="scores", task_run_name="scores {label}")
@redacting_errors
def compute_scores(
    context: RunContext,
    label: str,
    *,
    references: Artifact,
    generated: Artifact,
    base: Artifact,
    category: str,
    metrics: Sequence[str] | None = None,
) -> Scores:
    """Score an adapter's images beside the base's, unless the scores are cached.

    Args:
        references: features of the dataset's images.
        generated: features of the adapter's images.
        base: features of the base's images of the same prompts and seeds.
        metrics: names; None for those that are computed by default.
    """
    from lycoris.metrics import compare

    features = {"references": references, "generated": generated, "base": base}
    options = {"category": category, "metrics": None if metrics is None else list(metrics)}
    return score_features(context, "scores", label, features, options, compare)


def score_features(
    context: RunContext,
    stage: str,
    label: str,
    features: Mapping[str, Artifact],
    options: Mapping[str, Any],
    compare: Callable[..., Iterable[Score]],
) -> Scores:
    """Compute scores from features, unless they are cached.

    Args:
        stage: name of the stage.
        features: by their names in the content key: ``references``, then those that `compare` takes, in its order.
        options: further arguments of `compare`.
        compare: a function of `lycoris.metrics`.
    """
    from lycoris.metrics import load_features

    context = local_context(context)
    keys = {name: artifact.key for name, artifact in features.items()}

    def compute(folder: Path, bar: progress.StepProgress) -> None:
        sets = [load_features(ensure_local(context, one).folder / FEATURES_FILE) for one in features.values()]
        look_alikes = {LOOK_ALIKES: sets[0][LOOK_ALIKES]} if LOOK_ALIKES in sets[0] else {}
        scores = compare(sets[0]["references"], *sets[1:], **look_alikes, **options)
        (folder / SCORES_FILE).write_text(json.dumps([asdict(score) for score in scores], allow_nan=False))

    inputs = {**keys, **options, "code": source_hash(*SCORE_SOURCES)}
    return read_scores(get_or_compute(context, stage, label, inputs, compute))


def read_scores(artifact: Artifact) -> Scores:
    """Read the scores of a stage."""
    from lycoris.metrics import Score

    records = json.loads((artifact.folder / SCORES_FILE).read_text())
    return Scores(artifact.key, [Score(**record) for record in records], artifact.cached)


def combine_modes(scores: Mapping[str, Scores]) -> Scores:
    """The scores of one adapter in all resize modes, as one.

    Args:
        scores: resize mode -> scores, in the order of the experiment.
    """
    from lycoris.metrics.resize_modes import merge_modes

    if tuple(scores) == ("resize",):
        return scores["resize"]
    return Scores(
        stage_key("scores", {mode: one.key for mode, one in scores.items()}),
        merge_modes({mode: one.records for mode, one in scores.items()}),
        cached=all(one.cached for one in scores.values()),
    )
