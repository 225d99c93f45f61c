"""Score the images of an adapter against those of the base."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import task

from lycoris.cache.keys import source_hash, stage_key
from tasks.artifacts import Artifact, RunContext
from tasks.encode import FEATURES_FILE
from tasks.runtime import progress
from tasks.runtime.cache import get_or_compute
from tasks.runtime.transfer import ensure_local, local_context

if TYPE_CHECKING:
    from lycoris.metrics import FeatureSet, Score

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
        context: of the run.
        label: shown to the user.
        references: features of the dataset's images.
        generated: features of the adapter's images.
        base: features of the base's images of the same prompts and seeds.
        category: of the concept.
        metrics: names; None for those that are computed by default.
    """
    context = local_context(context)
    inputs = {
        "references": references.key,
        "generated": generated.key,
        "base": base.key,
        "category": category,
        "metrics": None if metrics is None else list(metrics),
        "code": source_hash(*SCORE_SOURCES),
    }

    def compute(folder: Path, bar: progress.StepProgress) -> None:
        from lycoris.metrics import compare

        scores = compare(
            local_features(context, references)["references"],
            local_features(context, generated),
            local_features(context, base),
            category=category,
            metrics=metrics,
        )
        write_scores(folder, scores)

    return read_scores(get_or_compute(context, "scores", label, inputs, compute))


def local_features(context: RunContext, artifact: Artifact) -> dict[str, FeatureSet]:
    """Load the features of a stage, fetched to this machine if need be."""
    from lycoris.metrics import load_features

    return load_features(ensure_local(context, artifact).folder / FEATURES_FILE)


def write_scores(folder: Path, scores: Iterable[Score]) -> None:
    """Write the scores of a stage."""
    (folder / SCORES_FILE).write_text(json.dumps([asdict(score) for score in scores], allow_nan=False))


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
