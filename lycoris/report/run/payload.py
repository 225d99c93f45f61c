"""From the study to what the page draws: pictures by number, prompts once, numbers that JSON can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lycoris.analysis.statistics.score_verdicts import KINDS, Measure, headlines, measures, rank, verdict
from lycoris.analysis.text.formatting import TITLES, finding, title
from lycoris.report.run.image_selection import drawings, evenly, shown
from lycoris.report.run.losses import POINTS, curve, levels
from lycoris.report.shared.image_store import Album
from lycoris.report.shared.mlflow_links import tracked

CURVES = 30_000
"""At most about so many points of loss curves are shown."""
OF_ADAPTER = (
    *("name", "concept", "algorithm", "seed", "file", "bytes", "parameters"),
    *("run_id", "cached", "champion", "reason", "seconds", "error", "pictures", "set_aside"),
    *("checkpoint", "unit"),
)
"""What the page shows of an adapter as it is."""
OF_SCORE = ("value", "low", "high", "base", "difference", "difference_low", "difference_high")
"""What the page shows of a score, in this order, behind its verdict's place in `VERDICTS`."""
VERDICTS = ("better", "none", "worse", "unknown")
STRATEGIES = ("none", "all", "adjusted", "sentence")


def payload(study: Mapping[str, Any], album: Album) -> dict[str, Any]:
    """Everything the page's scripts need, except the pictures themselves, which ``album`` collects.

    Args:
        study: the study as :func:`lycoris.report.render` takes it.
        album: takes the pictures and gives their numbers.

    Returns:
        A dict that :func:`in_script` can write.
    """
    adapters = list(study.get("adapters") or [])
    known = measures(study)
    prompts: dict[str, int] = {}
    settings: dict[str, int] = {}
    seeds = {adapter.get("seed") for adapter in adapters}
    drawn = [*(study.get("bases") or []), *adapters]
    concepts = list(study.get("concepts") or [])
    told = {concept.get("name") for concept in concepts}
    concepts += [{"name": name} for name in dict.fromkeys(one.get("concept") for one in drawn) if name not in told]
    counts = [len(pictures or []) for one in drawn for pictures in (one.get("drawings") or {}).values()]
    room = shown(drawn)
    trained = sum(bool(adapter.get("losses")) for adapter in adapters)
    points = min(POINTS, max(20, CURVES // max(1, trained)))

    page: dict[str, Any] = {
        "concepts": [_concept(concept, adapters, known, album, many=len(seeds) > 1) for concept in concepts],
        "kinds": sorted(
            {kind for one in drawn for kind in one.get("drawings") or {}}, key=lambda kind: rank(KINDS, kind)
        ),
        "captions": sorted({one.get("captions") or "" for one in drawn}, key=lambda name: rank(STRATEGIES, name)),
        "algorithms": [
            [name, title(name)]
            for name in sorted(
                {adapter["algorithm"] for adapter in adapters if adapter.get("algorithm")},
                key=lambda name: rank(TITLES, name),
            )
        ],
        "manySeeds": len(seeds) > 1,
        "checkpoints": any(adapter.get("checkpoint") for adapter in adapters),
        "shown": room if max(counts, default=0) > room else None,
        "measures": [asdict(measure) for measure in known],
        "verdicts": VERDICTS,
        "ofScore": OF_SCORE,
        "tracking": tracked(study),
        "bases": [
            {
                "concept": base.get("concept"),
                "captions": base.get("captions") or "",
                "drawings": drawings(base, album, prompts, room),
            }
            for base in study.get("bases") or []
        ],
        "adapters": [
            {
                **{key: adapter.get(key) for key in OF_ADAPTER if adapter.get(key) is not None},
                "captions": adapter.get("captions") or "",
                "settings": settings.setdefault(json.dumps(adapter.get("settings") or {}, default=str), len(settings)),
                "scores": _scores(adapter, known),
                "curve": curve(adapter.get("losses") or [], points),
                "levels": levels(adapter.get("bands") or {}),
                "validation": [list(point) for point in adapter.get("validation") or []],
                "samples": [
                    {"count": moment.get("count"), "pictures": [album.add(path) for path in moment.get("images") or []]}
                    for moment in evenly(adapter.get("samples") or [], room)
                ],
                "drawn": sum(len(pictures or []) for pictures in (adapter.get("drawings") or {}).values()),
                "drawings": drawings(adapter, album, prompts, room),
            }
            for adapter in adapters
        ],
    }
    page["settings"] = [json.loads(text) for text in settings]
    page["prompts"] = list(prompts)
    return page


def _concept(
    concept: Mapping[str, Any],
    adapters: Sequence[Mapping[str, Any]],
    known: Sequence[Measure],
    album: Album,
    *,
    many: bool,
) -> dict[str, Any]:
    name = concept.get("name")
    own = [adapter for adapter in adapters if adapter.get("concept") == name]
    first = headlines(known, {score for adapter in own for score in adapter.get("scores") or {}})
    findings = []
    for dimension, measure in first.items():
        said = finding(measure, str(name), own, seeds=many)
        verdicts = [
            verdict(adapter["scores"][measure.name], measure)
            for adapter in own
            if measure.name in (adapter.get("scores") or {})
        ]
        findings.append(
            {
                "dimension": dimension,
                "measure": measure.name,
                "sentence": asdict(said) if said else None,
                "count": {kind: verdicts.count(kind) for kind in ("better", "none", "worse", "unknown")},
            }
        )
    inherent = list(concept.get("inherent") or [])
    return {
        **{key: concept.get(key) for key in ("category", "trigger", "class_noun", "description")},
        "name": name,
        "references": [album.add(path) for path in concept.get("references") or []],
        "captions": {
            strategy: [struck(caption, inherent) for caption in captions]
            for strategy, captions in sorted(
                (concept.get("captions") or {}).items(), key=lambda pair: rank(STRATEGIES, pair[0])
            )
        },
        "inherent": inherent,
        "headlines": {dimension: measure.name for dimension, measure in first.items()},
        "findings": findings,
    }


def _scores(adapter: Mapping[str, Any], known: Sequence[Measure]) -> list[list[Any] | None]:
    """For each measure the verdict's place, the numbers of `OF_SCORE`, and the note if there is one."""
    own = adapter.get("scores") or {}
    return [_score(own[measure.name], measure) if measure.name in own else None for measure in known]


def _score(score: Mapping[str, Any], measure: Measure) -> list[Any]:
    numbers = [_short(score.get(name)) for name in OF_SCORE]
    note = score.get("note")
    return [VERDICTS.index(verdict(score, measure)), *numbers, *([note] if note else [])]


def _short(value: Any) -> Any:
    """A number to five significant digits, which is more than the page prints."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def struck(caption: str, inherent: Sequence[str]) -> list[tuple[str, bool]]:
    """A caption's parts between commas, each with whether it is one of the ``inherent`` tags."""
    own = {_plain(tag) for tag in inherent}
    return [(part, _plain(part) in own) for part in caption.split(", ")]


def _plain(tag: str) -> str:
    return tag.strip().replace("_", " ").casefold()


def in_script(value: Any) -> str:
    """JSON that may stand inside an HTML ``<script>``, because nothing in it can close one."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def finite(value: Any) -> Any:
    """The same data with None for every number that is not finite, as JSON has none of those."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value
