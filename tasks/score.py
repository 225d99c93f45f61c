"""What the encoders see in pictures, kept; and the scores that follow from it, beside the base's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.cache.store import code_version
from tasks.artifacts import Eyes, Made, Place
from tasks.caption import LOOKING
from tasks.generate import PROMPTS
from tasks.runtime import progress, resources
from tasks.runtime.cache import stage
from tasks.runtime.transfer import Sent, at_hand, here

FEATURES = "features.safetensors"
SCORES = "scores.json"
SEEN = (*LOOKING, "metrics/encoding.py", "metrics/features.py", "metrics/registry.py", "metrics/quality_predictors")
SCORED = ("metrics",)


@dataclass(frozen=True)
class Scored:
    """A finished scoring.

    Attributes:
        key: content key of the stage.
        records: `lycoris.metrics.Score` as JSON-able records.
        cached: whether it was there already.
    """

    key: str
    records: list[dict[str, Any]]
    cached: bool


@task(name="features", task_run_name="features {label}")
def features(
    place: Place,
    label: str,
    *,
    pictures: Sequence[Path] | None = None,
    digest: str | None = None,
    made: Sequence[Made] = (),
    category: str,
    names: Sequence[str] = (),
    encoders: Mapping[str, str],
    style_encoder: tuple[str, str],
    tagger: Eyes,
    raters: Sequence[str] = (),
    mode: str = "resize",
    sent: Sent | None = None,
) -> Made:
    """Encode a dataset's pictures, or what was drawn, unless the same was done before.

    Args:
        place: where to keep the features.
        label: what the user reads.
        pictures: the dataset's files, with the `digest` of their bytes.
        digest: of the dataset's files.
        made: stages of drawings; their prompt types are joined.
        category: of the concept.
        names: what stands for it in prompts.
        encoders: source -> digest.
        style_encoder: source and digest.
        tagger: how it is opened, and its digest.
        raters: networks of single metrics, as `lycoris.metrics.quality_predictors.open_raters` takes them.
        mode: how pictures are brought to an encoder's size: ``resize``, ``crop`` or ``padding``.
        sent: the dataset's pictures, for machines that do not see those files.

    Returns:
        The stage; its folder holds ``features.safetensors``, by prompt type or under ``references``.
    """
    place = here(place)
    inputs = {
        "pictures": digest,
        "drawings": [each.key for each in made],
        "category": category,
        "names": list(names),
        "encoders": dict(sorted(encoders.items())),
        "style_encoder": list(style_encoder),
        "tagger": [tagger.source, tagger.digest],
        "raters": list(raters),
        "mode": mode,
        "code": code_version(*SEEN),
    }

    def work(folder: Path, bar: progress.Bar) -> None:
        files = pictures if sent is None else sent.paths(place)
        drawn = [at_hand(place, each) for each in made]
        _encode(place, files, drawn, category, names, encoders, style_encoder[0], tagger, raters, mode, folder, bar)

    return stage(place, "features", label, inputs, work)


def _encode(
    place: Place,
    pictures: Sequence[Path] | None,
    made: Sequence[Made],
    category: str,
    names: Sequence[str],
    encoders: Mapping[str, str],
    style_encoder: str,
    tagger: Eyes,
    raters: Sequence[str],
    mode: str,
    folder: Path,
    bar: progress.Bar,
) -> None:
    from lycoris.data.images import Files
    from lycoris.metrics import Condition, Drawings, encode, encode_references, save_features
    from lycoris.metrics.quality_predictors import open_raters

    opened = [resources.encoder(source, place.device) for source in encoders]
    style = resources.style_encoder(style_encoder, place.device)
    if pictures is not None:
        seen = encode_references(Files(pictures), opened, style, category=category, mode=mode)
        save_features(folder / FEATURES, {"references": seen})
        return
    drawings = {}
    for each in made:
        for kind, prompts in json.loads((each.folder / PROMPTS).read_text()).items():
            shown = Files([each.folder / kind / f"{number:03d}.png" for number in range(len(prompts))])
            drawings[kind] = Drawings(kind, shown, [Condition(**prompt) for prompt in prompts])
    eyes = resources.tagger(tagger, place.device) if tagger.source != "sidecar" else None
    asked = open_raters(raters, opened, place.device)
    seen_by_kind = encode(
        drawings, opened, style,
        category=category, tagger=eyes, names=names, raters=asked, mode=mode, progress=bar,
    )  # fmt: skip
    save_features(folder / FEATURES, seen_by_kind)


@task(name="scores", task_run_name="scores {label}")
def scores(
    place: Place,
    label: str,
    *,
    references: Made,
    drawings: Made,
    base: Made,
    category: str,
    metrics: Sequence[str] | None = None,
) -> Scored:
    """Score what an adapter drew beside what the base drew, unless the same was done before.

    Args:
        place: where to keep the scores.
        label: what the user reads.
        references: features of the dataset's pictures.
        drawings: features of the adapter's pictures.
        base: features of the base's pictures of the same prompts and seeds.
        category: of the concept.
        metrics: their names; None for those that are computed by default.

    Returns:
        The stage with its records.
    """
    place = here(place)
    inputs = {
        "references": references.key,
        "drawings": drawings.key,
        "base": base.key,
        "category": category,
        "metrics": None if metrics is None else list(metrics),
        "code": code_version(*SCORED),
    }

    def work(folder: Path, bar: progress.Bar) -> None:
        from lycoris.metrics import compare, load_features

        records = compare(
            load_features(at_hand(place, references).folder / FEATURES)["references"],
            load_features(at_hand(place, drawings).folder / FEATURES),
            load_features(at_hand(place, base).folder / FEATURES),
            category=category,
            metrics=metrics,
        )
        (folder / SCORES).write_text(json.dumps([asdict(record) for record in records], allow_nan=False))

    made = stage(place, "scores", label, inputs, work)
    return Scored(made.key, json.loads((made.folder / SCORES).read_text()), made.cached)


@task(name="differences", task_run_name="differences {label}")
def differences(
    place: Place, label: str, *, references: Made, first: Made, second: Made, base: Made, category: str
) -> Scored:
    """What separates the drawings of two adapters, by common prompts and seeds, unless the same was done before.

    Args:
        place: where to keep it.
        label: what the user reads.
        references: features of the dataset's pictures.
        first: features of one adapter's pictures.
        second: of the other's, which stand where a score says "base".
        base: features of the base's pictures.
        category: of the concept.
    """
    inputs = {
        "references": references.key,
        "first": first.key,
        "second": second.key,
        "base": base.key,
        "category": category,
        "code": code_version(*SCORED),
    }

    def work(folder: Path, bar: progress.Bar) -> None:
        from lycoris.metrics import between, load_features

        known, one, other, control = (
            load_features(each.folder / FEATURES) for each in (references, first, second, base)
        )
        records = between(known["references"], one, other, control, category=category)
        (folder / SCORES).write_text(json.dumps([asdict(record) for record in records], allow_nan=False))

    made = stage(place, "differences", label, inputs, work)
    return Scored(made.key, json.loads((made.folder / SCORES).read_text()), made.cached)
