"""Validate every metric against the ground truth of a finished study on the pocket world.

    python -m flows.studies.metric_trust runs                           print the table
    python -m flows.studies.metric_trust runs --write docs/metrics.md   and insert it into a page, between its markers
    python -m flows.studies.metric_trust runs --json                    every metric, encoder and resize mode

Everything is read from the study's cache: images, their prompts and the headers of the adapters. Generated images are
square, so resize modes differ on the reference images only. These are padded at their edges, alternately horizontally
and vertically, as photographs have various shapes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from flows.studies.generated_images import StudyAdapter, StudyImages, load_study_images
from flows.studies.script import run_script, study_parser
from lycoris.analysis.statistics.metric_validity import render_validity_table, validate_metrics
from lycoris.cache.atomic import atomic_write_text
from lycoris.errors import InputError
from lycoris.terms import RESIZE_MODES

if TYPE_CHECKING:
    from lycoris.captions import Tagger
    from lycoris.data.concepts import Concept
    from lycoris.encoders import Encoder, StyleEncoder
    from lycoris.metrics.features import FeatureSet
    from lycoris.metrics.prediction import QualityPredictorLike

logger = logging.getLogger("lycoris.studies.metric_trust")

PADDED_ASPECT_RATIO = 1.5
LOOK_ALIKES = 36
"""Images of look-alikes of a concept that is an individual of the drawn world."""
QUALITY_PREDICTORS = ("clip_iqa", "quality_vendi", "vqa_score=pocket", "colour_drift")
"""Measures with a network of their own that need no file."""
PAGE_MARKERS = ("<!-- trust -->", "<!-- /trust -->")


@dataclass(frozen=True)
class Models:
    """Models that score generated images."""

    encoders: list[Encoder]
    style_encoder: StyleEncoder
    tagger: Tagger
    quality_predictors: list[QualityPredictorLike]


def collect_scores(runs: Path, encoders: Sequence[str], style: str, tagger: str) -> list[dict[str, Any]]:
    """Score every adapter of a study under every resize mode, with the true score of the metric's dimension.

    Args:
        runs: output folder of the study.
        encoders: sources of the image encoders.
        style: source of the style encoder.
        tagger: source of the tagger.

    Returns:
        Records ``{"concept", "adapter", "kind", "metric", "encoder", "mode", "value", "truth"}``, where ``kind`` is
        the prompt type and higher is better for both ``value`` and ``truth``.
    """
    from lycoris.captions import open_tagger
    from lycoris.data.concepts import load_concepts
    from lycoris.encoders import open_encoder, open_style_encoder
    from lycoris.metrics.quality_predictors import PREDICTORS, open_quality_predictors
    from lycoris.pocket import IMAGES

    study = load_study_images(runs)
    opened = [open_encoder(source) for source in encoders]
    reads_text = any(encoder.reads_text for encoder in opened)
    independent = [name for name in QUALITY_PREDICTORS if PREDICTORS[name.partition("=")[0]].text_encoders is None]
    predictors = open_quality_predictors(QUALITY_PREDICTORS if reads_text else independent, opened)
    models = Models(opened, open_style_encoder(style), open_tagger(tagger), predictors)
    records: list[dict[str, Any]] = []
    for concept in load_concepts(IMAGES, names=sorted({adapter.concept for adapter in study.adapters})):
        records += _score_concept(concept, study, models)
    return records


def _score_concept(concept: Concept, study: StudyImages, models: Models) -> Iterator[dict[str, Any]]:
    """Records of all adapters of one concept."""
    from lycoris.data.images import read_image
    from lycoris.metrics import encode, encode_references
    from lycoris.pocket.models.ground_truth import ConceptJudge

    judge = ConceptJudge(concept.name)
    logger.info(f"{concept.name}: the probe is right on {judge.accuracy:.3f} of held-out images")
    padded = [pad_edges(read_image(image.path), vertically=n % 2 == 1) for n, image in enumerate(concept.images)]
    encoders = (models.encoders, models.style_encoder)
    references = {
        mode: encode_references(padded, *encoders, category=concept.category, mode=mode) for mode in RESIZE_MODES
    }
    look_alikes = _look_alikes(concept, models)
    base_cache: dict[Any, FeatureSet] = {}
    adapters = [adapter for adapter in study.adapters if adapter.concept == concept.name]
    for adapter in adapters:
        true_scores = study.true_scores(adapter, judge)
        images, base_images = _generated_images(adapter, study)
        features = encode(
            images, *encoders, category=concept.category, tagger=models.tagger, concept_names=[judge.concept_phrase],
            quality_predictors=models.quality_predictors,
        )  # fmt: skip
        base_features = {}
        for prompt_type, generated in base_images.items():
            key = (prompt_type, tuple((prompt.text, prompt.seed) for prompt in generated.prompts))
            if key not in base_cache:
                encoded = encode(
                    {prompt_type: generated}, *encoders, category=concept.category,
                    quality_predictors=models.quality_predictors,
                )  # fmt: skip
                base_cache[key] = encoded[prompt_type]
            base_features[prompt_type] = base_cache[key]
        for mode in RESIZE_MODES:
            sets = (references[mode], features, base_features)
            scores = _scores(*sets, concept.category, true_scores, look_alikes)
            for score in scores:
                yield {"concept": concept.name, "adapter": adapter.key, "mode": mode, **score}
    logger.info(f"{concept.name}: {len(adapters)} adapters")


def _look_alikes(concept: Concept, models: Models) -> FeatureSet | None:
    """Features of look-alikes; None where the world draws none of the concept."""
    from lycoris.metrics import encode_references
    from lycoris.pocket.world.look_alikes import INDIVIDUALS, draw_look_alikes

    if concept.name not in INDIVIDUALS:
        return None
    images = [image for _, image in draw_look_alikes(concept.name, LOOK_ALIKES)]
    return encode_references(images, models.encoders, category=concept.category)


def _generated_images(adapter: StudyAdapter, study: StudyImages) -> tuple[dict[str, Any], dict[str, Any]]:
    """The adapter's and the base model's images by prompt type."""
    from lycoris.metrics import GeneratedImages

    images, base_images = {}, {}
    for each in study.image_sets(adapter):
        images[each.prompt_type] = GeneratedImages(each.prompt_type, each.images, each.prompts)
        if each.base_images is not None:
            base_images[each.prompt_type] = GeneratedImages(each.prompt_type, each.base_images, each.prompts)
    return images, base_images


def _scores(
    references: FeatureSet,
    features: dict[str, FeatureSet],
    base_features: dict[str, FeatureSet],
    category: str,
    true_scores: dict[str, dict[str, float]],
    look_alikes: FeatureSet | None = None,
) -> Iterator[dict[str, Any]]:
    """Every defined score of an adapter with its true score."""
    from lycoris.metrics import METRICS, compare

    scores = compare(
        references, features, base_features, category=category, metrics=list(METRICS), resamples=2,
        look_alikes=look_alikes,
    )  # fmt: skip
    for score in scores:
        metric, prompt_type, encoder = score.name.split("/")
        truth = true_scores[prompt_type].get(score.dimension)
        if score.value is not None and truth is not None:
            value = score.value if score.higher_is_better else -score.value
            yield {"kind": prompt_type, "metric": metric, "encoder": encoder, "value": value, "truth": truth}


def pad_edges(image: Image.Image, vertically: bool) -> Image.Image:
    """Pad an image to `PADDED_ASPECT_RATIO` by repeating the pixels at its edges."""
    padding = round(min(image.size) * (PADDED_ASPECT_RATIO - 1) / 2)
    sides = ((padding, padding), (0, 0), (0, 0)) if vertically else ((0, 0), (padding, padding), (0, 0))
    return Image.fromarray(np.pad(np.asarray(image), sides, mode="edge"))


def insert_table(table: str, page: Path) -> None:
    """Replace the text between the markers of a page.

    Raises:
        InputError: the page lacks a marker.
    """
    before, start, rest = page.read_text(encoding="utf-8").partition(PAGE_MARKERS[0])
    _, end, after = rest.partition(PAGE_MARKERS[1])
    if not start or not end:
        raise InputError(f"Page `{page}` must have the markers `{PAGE_MARKERS[0]}` and `{PAGE_MARKERS[1]}`.")
    atomic_write_text(page, f"{before}{start}\n{table}\n{end}{after}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 2 for invalid input."""
    parser = study_parser(__doc__)
    parser.add_argument("--encoders", default="clip,dinov2,convnextv2", help="image encoders, separated by commas")
    parser.add_argument("--style", default="vgg", help="style encoder")
    parser.add_argument("--tagger", default="pocket", help="tagger")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="insert the table into this page")
    arguments = parser.parse_args(argv)

    def measure() -> tuple[str, dict[str, Any]]:
        encoders = arguments.encoders.split(",")
        rows = validate_metrics(collect_scores(arguments.runs, encoders, arguments.style, arguments.tagger))
        table = render_validity_table(rows)
        if arguments.write:
            insert_table(table, arguments.write)
        return table, {"trust": rows}

    return run_script(arguments, measure)


if __name__ == "__main__":
    sys.exit(main())
