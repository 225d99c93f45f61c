"""Scored files as the report and `lycoris score --json` have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flows.config.scoring import ScoringTarget
from flows.steps.futures import EvaluationFutures, root_cause
from tasks.generate import image_records

if TYPE_CHECKING:
    from lycoris.report.run.schema import BaseImages


def scored_record(target: ScoringTarget, futures: EvaluationFutures) -> dict[str, Any]:
    """The record of a file in the report; with an error instead of scores if a step has failed."""
    record: dict[str, Any] = {
        "name": target.name,
        "label": target.name,
        "concept": target.concept,
        "algorithm": target.header.get("lycoris.algorithm", "pictures" if target.file.is_dir() else "given"),
        "captions": target.strategy,
        "seed": int(target.header["seed"]) if target.header.get("seed", "").isdigit() else 0,
        "file": str(target.file),
    }
    if target.file.is_file():
        record["bytes"] = target.file.stat().st_size
    try:
        (scores,) = (future.result() for future in futures.scores.values())
        record["drawings"] = image_records(futures.images.result())
    except Exception as error:
        return {**record, "error": root_cause(error, futures.upstream)}
    return {**record, "scores": {score.name: asdict(score) for score in scores.records}}


def base_records(
    targets: Sequence[ScoringTarget], entries: Sequence[Mapping[str, Any]], evaluations: Sequence[EvaluationFutures]
) -> list[BaseImages]:
    """The base's images for each file that could be scored."""
    return [
        {
            "concept": target.concept,
            "captions": target.strategy,
            "drawings": {
                prompt_type: images
                for part in futures.base.images
                for prompt_type, images in image_records(part.result()).items()
            },
        }
        for target, entry, futures in zip(targets, entries, evaluations, strict=True)
        if "error" not in entry
    ]


def scored_result(record: Mapping[str, Any], not_computed: Sequence[str]) -> dict[str, Any]:
    """The part of a file's record that `lycoris score --json` prints.

    Args:
        not_computed: metrics that are undefined for its images, as ``<metric>/<prompt type>``.
    """
    result = {name: record[name] for name in ("file", "concept", "scores", "error") if name in record}
    return {**result, "not_computed": list(not_computed)} if not_computed else result
