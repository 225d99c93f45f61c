"""From the study to what the page draws: pictures by number, prompts once, numbers that JSON can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lycoris.analysis.statistics.score_verdicts import (
    ScoreSpec,
    headline_scores,
    order_key,
    score_specs,
    score_verdict,
)
from lycoris.analysis.text.formatting import algorithm_title, algorithm_titles, summarize_score
from lycoris.report.run.image_selection import images_per_set, select_images, subsample
from lycoris.report.run.losses import MAX_POINTS, final_loss_by_bin, thin_curve
from lycoris.report.shared.image_store import ImageStore
from lycoris.report.shared.mlflow_links import tracking_links
from lycoris.terms import CAPTION_STRATEGIES, REPORTED_PROMPT_TYPES, VERDICTS, page_terms

MAX_CURVE_POINTS = 30_000
"""At most about so many points of loss curves are shown."""
ADAPTER_FIELDS = (
    *("name", "concept", "algorithm", "seed", "file", "bytes", "parameters"),
    *("run_id", "cached", "champion", "reason", "seconds", "error", "pictures", "set_aside"),
    *("checkpoint", "unit"),
)
"""What the page shows of an adapter as it is."""
SCORE_FIELDS = ("value", "low", "high", "base", "difference", "difference_low", "difference_high")
"""What the page shows of a score, in this order, behind its verdict's place in `VERDICTS`."""


def report_payload(study: Mapping[str, Any], store: ImageStore) -> dict[str, Any]:
    """Everything the page's scripts need, except the pictures themselves, which ``album`` collects.

    Args:
        study: the study as :func:`lycoris.report.render` takes it.
        album: takes the pictures and gives their numbers.

    Returns:
        A dict that :func:`in_script` can write.
    """
    adapters = list(study.get("adapters") or [])
    known = score_specs(study)
    prompts: dict[str, int] = {}
    settings: dict[str, int] = {}
    seeds = {adapter.get("seed") for adapter in adapters}
    drawn = [*(study.get("bases") or []), *adapters]
    concepts = list(study.get("concepts") or [])
    told = {concept.get("name") for concept in concepts}
    concepts += [{"name": name} for name in dict.fromkeys(one.get("concept") for one in drawn) if name not in told]
    counts = [len(pictures or []) for one in drawn for pictures in (one.get("drawings") or {}).values()]
    room = images_per_set(drawn)
    trained = sum(bool(adapter.get("losses")) for adapter in adapters)
    points = min(MAX_POINTS, max(20, MAX_CURVE_POINTS // max(1, trained)))

    page: dict[str, Any] = {
        "concepts": [
            _concept_payload(concept, adapters, known, store, with_seeds=len(seeds) > 1) for concept in concepts
        ],
        "kinds": sorted(
            {kind for one in drawn for kind in one.get("drawings") or {}},
            key=lambda kind: order_key(REPORTED_PROMPT_TYPES, kind),
        ),
        "captions": sorted(
            {one.get("captions") or "" for one in drawn}, key=lambda name: order_key(CAPTION_STRATEGIES, name)
        ),
        "algorithms": [
            [name, algorithm_title(name)]
            for name in sorted(
                {adapter["algorithm"] for adapter in adapters if adapter.get("algorithm")},
                key=lambda name: order_key(algorithm_titles(), name),
            )
        ],
        "manySeeds": len(seeds) > 1,
        "checkpoints": any(adapter.get("checkpoint") for adapter in adapters),
        "shown": room if max(counts, default=0) > room else None,
        "measures": [asdict(measure) for measure in known],
        "verdicts": VERDICTS,
        "terms": page_terms(),
        "ofScore": SCORE_FIELDS,
        "tracking": tracking_links(study),
        "bases": [
            {
                "concept": base.get("concept"),
                "captions": base.get("captions") or "",
                "drawings": select_images(base, store, prompts, room),
            }
            for base in study.get("bases") or []
        ],
        "adapters": [
            {
                **{key: adapter.get(key) for key in ADAPTER_FIELDS if adapter.get(key) is not None},
                "captions": adapter.get("captions") or "",
                "settings": settings.setdefault(json.dumps(adapter.get("settings") or {}, default=str), len(settings)),
                "scores": _score_rows(adapter, known),
                "curve": thin_curve(adapter.get("losses") or [], points),
                "levels": final_loss_by_bin(adapter.get("bands") or {}),
                "validation": [list(point) for point in adapter.get("validation") or []],
                "samples": [
                    {"count": moment.get("count"), "pictures": [store.add(path) for path in moment.get("images") or []]}
                    for moment in subsample(adapter.get("samples") or [], room)
                ],
                "drawn": sum(len(pictures or []) for pictures in (adapter.get("drawings") or {}).values()),
                "drawings": select_images(adapter, store, prompts, room),
            }
            for adapter in adapters
        ],
    }
    page["settings"] = [json.loads(text) for text in settings]
    page["prompts"] = list(prompts)
    return page


def _concept_payload(
    concept: Mapping[str, Any],
    adapters: Sequence[Mapping[str, Any]],
    specs: Sequence[ScoreSpec],
    store: ImageStore,
    *,
    with_seeds: bool,
) -> dict[str, Any]:
    name = concept.get("name")
    own = [adapter for adapter in adapters if adapter.get("concept") == name]
    first = headline_scores(specs, {score for adapter in own for score in adapter.get("scores") or {}})
    findings = []
    for dimension, measure in first.items():
        said = summarize_score(measure, str(name), own, with_seed=with_seeds)
        verdicts = [
            score_verdict(adapter["scores"][measure.name], measure)
            for adapter in own
            if measure.name in (adapter.get("scores") or {})
        ]
        findings.append(
            {
                "dimension": dimension,
                "measure": measure.name,
                "sentence": asdict(said) if said else None,
                "count": {kind: verdicts.count(kind) for kind in VERDICTS},
            }
        )
    inherent = list(concept.get("inherent") or [])
    return {
        **{key: concept.get(key) for key in ("category", "trigger", "class_noun", "description")},
        "name": name,
        "references": [store.add(path) for path in concept.get("references") or []],
        "captions": {
            strategy: [mark_concept_tags(caption, inherent) for caption in captions]
            for strategy, captions in sorted(
                (concept.get("captions") or {}).items(), key=lambda pair: order_key(CAPTION_STRATEGIES, pair[0])
            )
        },
        "inherent": inherent,
        "headlines": {dimension: measure.name for dimension, measure in first.items()},
        "findings": findings,
    }


def _score_rows(adapter: Mapping[str, Any], specs: Sequence[ScoreSpec]) -> list[list[Any] | None]:
    """For each measure the verdict's place, the numbers of `OF_SCORE`, and the note if there is one."""
    own = adapter.get("scores") or {}
    return [_score_row(own[measure.name], measure) if measure.name in own else None for measure in specs]


def _score_row(score: Mapping[str, Any], measure: ScoreSpec) -> list[Any]:
    numbers = [_rounded(score.get(name)) for name in SCORE_FIELDS]
    note = score.get("note")
    return [VERDICTS.index(score_verdict(score, measure)), *numbers, *([note] if note else [])]


def _rounded(value: Any) -> Any:
    """A number to five significant digits, which is more than the page prints."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def mark_concept_tags(caption: str, inherent: Sequence[str]) -> list[tuple[str, bool]]:
    """A caption's parts between commas, each with whether it is one of the ``inherent`` tags."""
    own = {_normalize_tag(tag) for tag in inherent}
    return [(part, _normalize_tag(part) in own) for part in caption.split(", ")]


def _normalize_tag(tag: str) -> str:
    return tag.strip().replace("_", " ").casefold()


def json_for_script(value: Any) -> str:
    """JSON that may stand inside an HTML ``<script>``, because nothing in it can close one."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def replace_nonfinite(value: Any) -> Any:
    """The same data with None for every number that is not finite, as JSON has none of those."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): replace_nonfinite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nonfinite(entry) for entry in value]
    return value
