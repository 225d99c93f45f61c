"""A challenger and a champion out of the registry, drawn on the same prompts and seeds, and held against each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.cache.store import file_digest, source_hash, stage_key
from tasks.artifacts import Artifact, RunContext
from tasks.runtime import progress
from tasks.runtime.cache import get_or_compute
from tasks.score import FEATURES_FILE
from tasks.tracking import registry
from tasks.tracking.registry import ModelVersion
from tasks.tracking.runs import TrackingServer
from tasks.train import ADAPTER_FILE

COMPARISON_FILE = "contest.json"
COMPARISON_SOURCES = ("metrics",)


def registered_adapter(context: RunContext, server: TrackingServer, version: ModelVersion) -> Artifact:
    """A registered adapter as a stage that can be drawn with: the training's own if it is here, else its file."""
    trained = context.store / "adapter" / str(version.artifact_key)
    if version.artifact_key is not None and (trained / ADAPTER_FILE).is_file():
        return Artifact(version.artifact_key, trained, True, 0.0)

    def work(folder: Path, _: progress.StepProgress) -> None:
        registry.pull(server, f"{version.concept}@{version.version}", folder / ADAPTER_FILE)

    label = f"{version.concept} · version {version.version}"
    made = get_or_compute(context, "pulled", label, {"sha256": version.sha256}, work)
    return Artifact(version.artifact_key or made.key, made.folder, made.cached, made.seconds)


def images_digest(images: Sequence[Path]) -> str:
    """A hash of some pictures' bytes, in their order."""
    return stage_key("pictures", {"files": [file_digest(Path(picture)) for picture in images]})


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
) -> list[dict[str, Any]]:
    """Hold the features of two adapters' drawings against each other, unless the same was done before.

    Args:
        place: where to keep the scores.
        label: what the user reads.
        references: features of pictures that the challenger was not trained on.
        challenger: features of its drawings.
        champion: features of the other's, of the same prompts and seeds.
        base: features of the untouched base's.
        category: of the concept.

    Returns:
        Records of `lycoris.metrics.paired_comparison`.
    """
    inputs = {
        "references": references.key,
        "challenger": challenger.key,
        "champion": champion.key,
        "base": base.key,
        "category": category,
        "code": source_hash(*COMPARISON_SOURCES),
    }

    def work(folder: Path, _: progress.StepProgress) -> None:
        from lycoris.metrics import compare_with_champion, load_features

        seen = [load_features(made.folder / FEATURES_FILE) for made in (challenger, champion, base)]
        scores = compare_with_champion(
            load_features(references.folder / FEATURES_FILE)["references"], *seen, category=category
        )
        (folder / COMPARISON_FILE).write_text(json.dumps([asdict(score) for score in scores], allow_nan=False))

    made = get_or_compute(context, "contest", label, inputs, work)
    return json.loads((made.folder / COMPARISON_FILE).read_text())
