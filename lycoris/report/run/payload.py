"""From the study record to the data of a page: images and prompts by number, and values that JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lycoris.analysis.text.formatting import order_key, titled_algorithms
from lycoris.metrics.score import ScoreRecord
from lycoris.pocket import EMBEDDED_BASES
from lycoris.report.run.image_selection import images_per_set, select_images, subsample
from lycoris.report.run.losses import MAX_POINTS, final_loss_by_bin, thin_curve
from lycoris.report.run.mlflow_links import tracking_links
from lycoris.report.run.schema import AdapterRecord, BaseImages, ConceptRecord, StudyRecord
from lycoris.report.run.scores import ReportedMeasure, headline_measures, reported_measures, score_verdict
from lycoris.report.run.summaries import summarize_scores
from lycoris.report.run.verdict import concept_verdict, has_learned
from lycoris.report.shared.image_store import ImageStore
from lycoris.report.shared.json_data import shorten
from lycoris.terms import CAPTION_STRATEGIES, REPORTED_PROMPT_TYPES, TAGGED_STRATEGIES, VERDICTS, page_terms

MAX_CURVE_POINTS = 30_000
"""The most points of loss curves on a page, roughly."""
ADAPTER_FIELDS = {
    **{
        name: name
        for name in (
            *("name", "label", "concept", "algorithm", "seed", "file", "bytes", "parameters", "run_id", "cached"),
            *("reason", "seconds", "error", "checkpoint", "unit"),
        )
    },
    "pictures": "trainingImages",
    "set_aside": "skippedImages",
}
"""Key of an adapter's record -> its name in the page."""
SCORE_FIELDS = ("value", "low", "high", "base", "difference", "difference_low", "difference_high")
"""The numbers of a score in a page, in order; its verdict stands before them and its note behind."""


def report_payload(study: StudyRecord, store: ImageStore) -> dict[str, Any]:
    """The data of a run report, except the images, which the store collects.

    Args:
        study: the study as :func:`lycoris.report.render` takes it.
        store: receives the images and numbers them.

    Returns:
        A dict for `lycoris.report.shared.json_data.json_for_script`.
    """
    adapters, bases = study.get("adapters") or [], study.get("bases") or []
    models: list[AdapterRecord | BaseImages] = [*bases, *adapters]
    measures = reported_measures(study)
    many_seeds = len({adapter.get("seed") for adapter in adapters}) > 1
    set_sizes = [len(images or []) for one in models for images in (one.get("drawings") or {}).values()]
    max_images = images_per_set(models)
    max_points = _points_per_curve(sum(bool(adapter.get("losses")) for adapter in adapters))
    prompts: dict[str, int] = {}
    page: dict[str, Any] = {
        "terms": page_terms(),
        "concepts": [
            _concept_payload(concept, adapters, measures, store, with_seeds=many_seeds)
            for concept in _all_concepts(study, models)
        ],
        "promptTypes": _ordered({name for one in models for name in one.get("drawings") or {}}, REPORTED_PROMPT_TYPES),
        "captions": _ordered({one.get("captions") or "" for one in models}, CAPTION_STRATEGIES),
        "algorithms": titled_algorithms(adapter["algorithm"] for adapter in adapters if adapter.get("algorithm")),
        "manySeeds": many_seeds,
        "checkpoints": any(adapter.get("checkpoint") for adapter in adapters),
        "imagesPerSet": max_images if max(set_sizes, default=0) > max_images else None,
        "measures": [asdict(measure) for measure in measures],
        "scoreFields": SCORE_FIELDS,
        "tracking": tracking_links(study),
        "hardware": study.get("hardware"),
        "isPocket": (study.get("base") or {}).get("name") in EMBEDDED_BASES,
        "bases": [
            {
                "concept": base.get("concept"),
                "captions": base.get("captions") or "",
                "images": select_images(base, store, prompts, max_images),
            }
            for base in bases
        ],
    }
    settings = [json.dumps(_set_values(adapter.get("settings") or {}), default=str) for adapter in adapters]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(settings))}
    page["adapters"] = [
        {
            **{name: adapter.get(key) for key, name in ADAPTER_FIELDS.items() if adapter.get(key) is not None},
            **_choice_payload(adapter),
            **_strength_payload(adapter, store),
            "captions": adapter.get("captions") or "",
            "settings": numbers[text],
            "scores": _score_rows(adapter, measures),
            **_training_payload(adapter, store, max_images, max_points),
            "imageCount": sum(len(images or []) for images in (adapter.get("drawings") or {}).values()),
            "images": select_images(adapter, store, prompts, max_images),
        }
        for adapter, text in zip(adapters, settings, strict=True)
    ]
    page["settings"] = [json.loads(text) for text in numbers]
    page["prompts"] = list(prompts)
    return page


def _points_per_curve(curves: int) -> int:
    return min(MAX_POINTS, max(20, MAX_CURVE_POINTS // max(1, curves)))


def _choice_payload(adapter: AdapterRecord) -> dict[str, bool]:
    """Whether an adapter is the best of its concept, and whether it is a champion: the best, and it has learned."""
    if not adapter.get("champion"):
        return {}
    return {"best": True, "champion": has_learned(adapter)}


def _strength_payload(adapter: AdapterRecord, store: ImageStore) -> dict[str, Any]:
    """The strengths that a champion was tried at, each with an image."""
    record = adapter.get("strength")
    if not record:
        return {}
    points = [
        {
            "strength": point.get("strength"),
            "score": shorten(point.get("score")),
            "dimensions": {name: shorten(value) for name, value in (point.get("dimensions") or {}).items()},
            "image": store.add(point.get("image")),
        }
        for point in record.get("points") or []
    ]
    return {"strength": {**{name: record.get(name) for name in ("value", "low", "high", "rule")}, "points": points}}


def _set_values(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that are not used."""
    return {name: value for name, value in settings.items() if value is not None}


def _ordered(names: Iterable[str], order: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: order_key(order, name))


def _all_concepts(study: StudyRecord, models: Sequence[AdapterRecord | BaseImages]) -> list[ConceptRecord]:
    """The concepts of the study, then those that only an adapter or base names."""
    concepts = list(study.get("concepts") or [])
    known = {concept.get("name") for concept in concepts}
    others = dict.fromkeys(one["concept"] for one in models if one.get("concept") and one["concept"] not in known)
    return [*concepts, *(ConceptRecord(name=name) for name in others)]


def _training_payload(adapter: AdapterRecord, store: ImageStore, max_images: int, max_points: int) -> dict[str, Any]:
    return {
        "curve": thin_curve(adapter.get("losses") or [], max_points),
        "lossByNoise": final_loss_by_bin(adapter.get("bands") or {}),
        "validation": [list(point) for point in adapter.get("validation") or []],
        "samples": [
            {"count": sample.get("count"), "images": [store.add(path) for path in sample.get("images") or []]}
            for sample in subsample(adapter.get("samples") or [], max_images)
        ],
    }


def _concept_payload(
    concept: ConceptRecord,
    adapters: Sequence[AdapterRecord],
    measures: Sequence[ReportedMeasure],
    store: ImageStore,
    *,
    with_seeds: bool,
) -> dict[str, Any]:
    name = concept.get("name")
    own = [adapter for adapter in adapters if adapter.get("concept") == name]
    headlines = headline_measures(measures, {score for adapter in own for score in adapter.get("scores") or {}})
    finished = [adapter for adapter in own if not adapter.get("error")]
    concept_tags = list(concept.get("inherent") or [])
    captions = concept.get("captions") or {}
    return {
        **{key: concept.get(key) for key in ("category", "trigger", "class_noun", "description")},
        "name": name,
        "references": [store.add(path) for path in concept.get("references") or []],
        "captions": {
            strategy: [mark_concept_tags(caption, concept_tags) for caption in captions[strategy]]
            for strategy in _ordered(captions, CAPTION_STRATEGIES)
        },
        "conceptTags": concept_tags if TAGGED_STRATEGIES.intersection(captions) else None,
        "verdict": asdict(concept_verdict(concept, finished, measures)) if finished else None,
        "headlines": {dimension: measure.name for dimension, measure in headlines.items()},
        "summaries": [
            _summary_payload(dimension, measure, str(name), own, with_seeds=with_seeds)
            for dimension, measure in headlines.items()
        ],
    }


def _summary_payload(
    dimension: str, measure: ReportedMeasure, concept: str, adapters: Sequence[AdapterRecord], *, with_seeds: bool
) -> dict[str, Any]:
    """Who leads a dimension, and how many adapters have each verdict."""
    with_captions = len({adapter.get("captions") for adapter in adapters}) > 1
    summary = summarize_scores(measure, concept, adapters, with_seed=with_seeds, with_captions=with_captions)
    scores = [scores[measure.name] for adapter in adapters if measure.name in (scores := adapter.get("scores") or {})]
    verdicts = [score_verdict(score, measure) for score in scores]
    return {
        "dimension": dimension,
        "measure": measure.name,
        "sentence": asdict(summary) if summary else None,
        "counts": {verdict: verdicts.count(verdict) for verdict in VERDICTS},
    }


def _score_rows(adapter: AdapterRecord, measures: Sequence[ReportedMeasure]) -> list[list[Any] | None]:
    """One row per measure; None where the adapter lacks the score."""
    scores = adapter.get("scores") or {}
    return [_score_row(scores[measure.name], measure) if measure.name in scores else None for measure in measures]


def _score_row(score: ScoreRecord, measure: ReportedMeasure) -> list[Any]:
    """The index of the verdict, the numbers of `SCORE_FIELDS`, and the note if there is one."""
    numbers = [shorten(score.get(name)) for name in SCORE_FIELDS]
    note = score.get("note")
    return [VERDICTS.index(score_verdict(score, measure)), *numbers, *([note] if note else [])]


def mark_concept_tags(caption: str, concept_tags: Iterable[str]) -> list[tuple[str, bool]]:
    """The comma-separated parts of a caption, each with whether it is one of the concept's own tags."""
    own = {_normalize_tag(tag) for tag in concept_tags}
    return [(part, _normalize_tag(part) in own) for part in caption.split(", ")]


def _normalize_tag(tag: str) -> str:
    return tag.strip().replace("_", " ").casefold()


EMPTY_PAYLOAD: Mapping[str, Any] = {
    name: [] for name in ("concepts", "promptTypes", "captions", "adapters", "bases", "images", "prompts", "measures")
} | {"terms": page_terms(), "settings": [], "scoreFields": SCORE_FIELDS}
"""The payload of a page without a run, which the shared scripts read all the same."""
