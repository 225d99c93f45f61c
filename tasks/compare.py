"""A challenger and a champion out of the registry, drawn on the same prompts and seeds, and held against each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.cache.store import code_version, file_digest, key
from tasks.artifacts import Made, Place
from tasks.runtime import progress
from tasks.runtime.cache import stage
from tasks.score import FEATURES
from tasks.tracking import registry
from tasks.tracking.registry import Version
from tasks.tracking.runs import Server
from tasks.train import FILE

CONTEST = "contest.json"
CODE = ("metrics",)


def contestant(place: Place, server: Server, version: Version) -> Made:
    """A registered adapter as a stage that can be drawn with: the training's own if it is here, else its file."""
    trained = place.store / "adapter" / str(version.key)
    if version.key is not None and (trained / FILE).is_file():
        return Made(version.key, trained, True, 0.0)

    def work(folder: Path, _: progress.Bar) -> None:
        registry.pull(server, f"{version.concept}@{version.version}", folder / FILE)

    label = f"{version.concept} · version {version.version}"
    made = stage(place, "pulled", label, {"sha256": version.sha256}, work)
    return Made(version.key or made.key, made.folder, made.cached, made.seconds)


def pictures_digest(pictures: Sequence[Path]) -> str:
    """A hash of some pictures' bytes, in their order."""
    return key("pictures", {"files": [file_digest(Path(picture)) for picture in pictures]})


@task(name="contest", task_run_name="contest {label}")
def contest(
    place: Place, label: str, *, references: Made, challenger: Made, champion: Made, base: Made, category: str
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
        "code": code_version(*CODE),
    }

    def work(folder: Path, _: progress.Bar) -> None:
        from lycoris.metrics import contest, load_features

        seen = [load_features(made.folder / FEATURES) for made in (challenger, champion, base)]
        scores = contest(load_features(references.folder / FEATURES)["references"], *seen, category=category)
        (folder / CONTEST).write_text(json.dumps([asdict(score) for score in scores], allow_nan=False))

    made = stage(place, "contest", label, inputs, work)
    return json.loads((made.folder / CONTEST).read_text())
