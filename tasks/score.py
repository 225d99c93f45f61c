"""What the encoders see in pictures, kept; and the scores that follow from it, beside the base's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.cache.store import source_hash
from tasks.artifacts import Artifact, RunContext, TaggerRef
from tasks.caption import TAGGING_SOURCES
from tasks.generate import PROMPTS_FILE
from tasks.runtime import progress, resources
from tasks.runtime.cache import get_or_compute
from tasks.runtime.transfer import ImageBundle, ensure_local, local_context

FEATURES_FILE = "features.safetensors"
SCORES_FILE = "scores.json"
FEATURE_SOURCES = (
    *TAGGING_SOURCES,
    "metrics/encoding.py",
    "metrics/features.py",
    "metrics/registry.py",
    "metrics/quality_predictors",
)
SCORE_SOURCES = ("metrics", "terms.py")


@dataclass(frozen=True)
class Scores:
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
def extract_features(
    context: RunContext,
    label: str,
    *,
    pictures: Sequence[Path] | None = None,
    digest: str | None = None,
    made: Sequence[Artifact] = (),
    category: str,
    names: Sequence[str] = (),
    encoders: Mapping[str, str],
    style_encoder: tuple[str, str],
    tagger: TaggerRef,
    raters: Sequence[str] = (),
    mode: str = "resize",
    sent: ImageBundle | None = None,
) -> Artifact:
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
    context = local_context(context)
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
        "code": source_hash(*FEATURE_SOURCES),
    }

    def work(folder: Path, bar: progress.StepProgress) -> None:
        files = pictures if sent is None else sent.paths(context)
        drawn = [ensure_local(context, each) for each in made]
        _extract(context, files, drawn, category, names, encoders, style_encoder[0], tagger, raters, mode, folder, bar)

    return get_or_compute(context, "features", label, inputs, work)


def _extract(
    context: RunContext,
    pictures: Sequence[Path] | None,
    made: Sequence[Artifact],
    category: str,
    names: Sequence[str],
    encoders: Mapping[str, str],
    style_encoder: str,
    tagger: TaggerRef,
    raters: Sequence[str],
    mode: str,
    folder: Path,
    bar: progress.StepProgress,
) -> None:
    from lycoris.data.images import ImageFiles
    from lycoris.metrics import GeneratedImages, PromptSpec, encode, encode_references, save_features
    from lycoris.metrics.quality_predictors import open_quality_predictors

    opened = [resources.cached_encoder(source, context.device) for source in encoders]
    style = resources.cached_style_encoder(style_encoder, context.device)
    if pictures is not None:
        seen = encode_references(ImageFiles(pictures), opened, style, category=category, mode=mode)
        save_features(folder / FEATURES_FILE, {"references": seen})
        return
    drawings = {}
    for each in made:
        for kind, prompts in json.loads((each.folder / PROMPTS_FILE).read_text()).items():
            shown = ImageFiles([each.folder / kind / f"{number:03d}.png" for number in range(len(prompts))])
            drawings[kind] = GeneratedImages(kind, shown, [PromptSpec(**prompt) for prompt in prompts])
    eyes = resources.cached_tagger(tagger, context.device) if tagger.source != "sidecar" else None
    asked = open_quality_predictors(raters, opened, context.device)
    seen_by_kind = encode(
        drawings, opened, style,
        category=category, tagger=eyes, concept_names=names, quality_predictors=asked, mode=mode, progress=bar,
    )  # fmt: skip
    save_features(folder / FEATURES_FILE, seen_by_kind)


@task(name="scores", task_run_name="scores {label}")
def compute_scores(
    context: RunContext,
    label: str,
    *,
    references: Artifact,
    drawings: Artifact,
    base: Artifact,
    category: str,
    metrics: Sequence[str] | None = None,
) -> Scores:
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
    context = local_context(context)
    inputs = {
        "references": references.key,
        "drawings": drawings.key,
        "base": base.key,
        "category": category,
        "metrics": None if metrics is None else list(metrics),
        "code": source_hash(*SCORE_SOURCES),
    }

    def work(folder: Path, bar: progress.StepProgress) -> None:
        from lycoris.metrics import compare, load_features

        records = compare(
            load_features(ensure_local(context, references).folder / FEATURES_FILE)["references"],
            load_features(ensure_local(context, drawings).folder / FEATURES_FILE),
            load_features(ensure_local(context, base).folder / FEATURES_FILE),
            category=category,
            metrics=metrics,
        )
        (folder / SCORES_FILE).write_text(json.dumps([asdict(record) for record in records], allow_nan=False))

    made = get_or_compute(context, "scores", label, inputs, work)
    return Scores(made.key, json.loads((made.folder / SCORES_FILE).read_text()), made.cached)


@task(name="differences", task_run_name="differences {label}")
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
        "code": source_hash(*SCORE_SOURCES),
    }

    def work(folder: Path, bar: progress.StepProgress) -> None:
        from lycoris.metrics import compare_models, load_features

        known, one, other, control = (
            load_features(each.folder / FEATURES_FILE) for each in (references, first, second, base)
        )
        records = compare_models(known["references"], one, other, control, category=category)
        (folder / SCORES_FILE).write_text(json.dumps([asdict(record) for record in records], allow_nan=False))

    made = get_or_compute(context, "differences", label, inputs, work)
    return Scores(made.key, json.loads((made.folder / SCORES_FILE).read_text()), made.cached)
