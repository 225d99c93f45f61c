"""The table of metrics: what each measures, which way is better, where it comes from and what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lycoris.metrics import controllability, diversity, fidelity, precision_recall, preservation, quality
from lycoris.metrics.weighted import MetricFunction
from lycoris.terms import PROMPT_TYPES, Dimension

STYLE_CATEGORIES = frozenset({"style", "styles"})
"""Categories whose concept is itself a style, so that style losses against the dataset measure fidelity."""

TRIGGER_PROMPTS = tuple(name for name, entry in PROMPT_TYPES.items() if entry.has_trigger)
"""Prompt types that ask for the concept."""
CONTENT_PROMPTS = tuple(name for name in TRIGGER_PROMPTS if PROMPT_TYPES[name].has_content)
"""Prompt types that ask for more than the concept itself."""
BASE_PROMPTS = tuple(name for name, entry in PROMPT_TYPES.items() if entry.base_knows_it)
"""Prompt types that ask for what the base knows: art styles, and the concept's description without its trigger."""
DATA_PROMPTS = tuple(name for name, entry in PROMPT_TYPES.items() if entry.resembles_data)
"""Prompt types whose images should be distributed like the training images."""
REPEATED_PROMPTS = tuple(name for name, entry in PROMPT_TYPES.items() if entry.has_repeats)
"""Prompt types with several images of one subject, so that their diversity can be measured."""


@dataclass(frozen=True)
class Metric:
    """One metric and what has to be known to compute and to read it.

    Attributes:
        function: the metric; its arguments are the features that ``needs`` names, then those of the drawings.
        dimension: which of the five questions it answers.
        higher_is_better: its direction.
        range: smallest and largest value; ``None`` where there is no bound.
        kinds: the prompt types it is computed for.
        needs: the arguments before the drawings, of ``references``, ``texts``, ``base`` and ``wanted``;
            ``texts``, ``base`` and ``wanted`` belong to the drawings row by row.
        sees: the features: ``image`` (L2-normalised), ``style`` (as they are), ``tags``, or ``rating``: what the
            metric's own network gives, see `lycoris.metrics.quality_predictors`.
        source: paper or definition.
        about: one sentence for a reader of the report.
        grouped: prompt types where it is computed for each situation apart and averaged.
        least: the fewest drawings it is defined for.
        least_references: the fewest references it is defined for.
        styles_only: whether it is for concepts that are styles.
        by_default: whether it is computed without being asked for by name.
        judges: whether its rank counts in its dimension's mean. Those that on the pocket world fall as the truth of
            the dimension rises, or hang together with it in no way, do not (`docs/metrics.md`).
        unjudged: prompt types where it does not, although it does on others.
    """

    function: MetricFunction
    dimension: Dimension
    higher_is_better: bool
    range: tuple[float | None, float | None]
    prompt_types: tuple[str, ...]
    inputs: tuple[str, ...]
    feature_kind: Literal["image", "style", "tags", "rating"]
    source: str
    description: str
    grouped_prompt_types: tuple[str, ...] = ()
    min_images: int = 1
    min_references: int = 1
    styles_only: bool = False
    by_default: bool = True
    counts_in_dimension: bool = True
    excluded_prompt_types: tuple[str, ...] = ()

    def applies_to(self, prompt_type: str, category: str) -> bool:
        """Whether it is computed for drawings of this prompt type and concepts of this category."""
        return prompt_type in self.prompt_types and (not self.styles_only or category in STYLE_CATEGORIES)


_REFERENCES = ("references",)

METRICS: dict[str, Metric] = {
    "image_similarity": Metric(
        fidelity.image_similarity, "fidelity", True, (-1.0, 1.0), TRIGGER_PROMPTS, _REFERENCES, "image", "arXiv 2309.14859",  # noqa: E501
        "Mean cosine between the features of every reference and every drawing.",
    ),
    "squared_centroid_distance": Metric(
        fidelity.squared_centroid_distance, "fidelity", False, (0.0, 4.0), TRIGGER_PROMPTS, _REFERENCES, "image",
        "arXiv 2309.14859",
        "Squared distance between the mean features of the references and of the drawings.",
    ),
    "dataset_style_loss": Metric(
        fidelity.dataset_style_loss, "fidelity", False, (0.0, None), TRIGGER_PROMPTS, _REFERENCES, "style",
        "arXiv 2309.14859, 1508.06576",
        "Mean difference of texture statistics over all pairs of a reference and a drawing.",
        styles_only=True,
    ),
    "cmmd": Metric(
        fidelity.cmmd, "fidelity", False, (0.0, 40.0), DATA_PROMPTS, _REFERENCES, "image",
        "arXiv 2401.09603",
        "Discrepancy between the feature distributions of references and drawings, Gaussian kernel.",
    ),
    "precision": Metric(
        precision_recall.precision, "fidelity", True, (0.0, 1.0), DATA_PROMPTS, _REFERENCES, "image",
        "arXiv 1904.06991",
        "The part of the drawings that lies among the references, by nearest neighbours.",
        min_references=4, by_default=False,
    ),
    "recall": Metric(
        precision_recall.recall, "fidelity", True, (0.0, 1.0), DATA_PROMPTS, _REFERENCES, "image",
        "arXiv 1904.06991",
        "The part of the references that lies among the drawings, by nearest neighbours.",
        min_images=4, by_default=False, counts_in_dimension=False,
    ),
    "copy_risk": Metric(
        fidelity.copy_risk, "fidelity", False, (-1.0, 1.0), REPEATED_PROMPTS, _REFERENCES, "image",
        "arXiv 2212.03860",
        "How near the drawings come to single references: mean cosine with the most similar one.",
        counts_in_dimension=False,
    ),
    "text_similarity": Metric(
        controllability.text_similarity, "controllability", True, (-1.0, 1.0), TRIGGER_PROMPTS, ("texts",), "image",
        "arXiv 2104.08718, 2309.14859",
        "Mean cosine of every drawing with its own prompt, the trigger replaced by a description.",
        excluded_prompt_types=("trigger",),  # which asks for nothing but the concept: how like its description that is, is fidelity  # noqa: E501
    ),
    "attribute_recall": Metric(
        controllability.attribute_recall, "controllability", True, (0.0, 1.0), CONTENT_PROMPTS, ("wanted",), "tags",
        "usual definition",
        "The part of the tags named by the prompts that a tagger finds in the drawings.",
    ),
    "attribute_precision": Metric(
        controllability.attribute_precision, "controllability", True, (0.0, 1.0), CONTENT_PROMPTS, ("wanted",), "tags",
        "usual definition",
        "The part of the tags found in the drawings, of the kinds asked for, that their prompts named.",
    ),
    "vendi": Metric(
        diversity.vendi, "diversity", True, (1.0, None), REPEATED_PROMPTS, (), "image",
        "arXiv 2210.02410",
        "The effective number of unlike drawings; for new situations within each, then averaged.",
        grouped_prompt_types=("alter",),
    ),
    "vendi_2": Metric(
        diversity.vendi_of_order(2.0), "diversity", True, (1.0, None), REPEATED_PROMPTS, (), "image",
        "arXiv 2310.12952",
        "The Vendi score of order 2, which rare drawings move less than that of order 1.",
        grouped_prompt_types=("alter",), by_default=False,
    ),
    "vendi_inf": Metric(
        diversity.vendi_of_order(float("inf")), "diversity", True, (1.0, None), REPEATED_PROMPTS, (),
        "image", "arXiv 2310.12952",
        "The Vendi score of order infinity, which only the most common look of the drawings decides.",
        grouped_prompt_types=("alter",), by_default=False,
    ),
    "mean_pairwise_distance": Metric(
        diversity.mean_pairwise_distance, "diversity", True, (0.0, 2.0), REPEATED_PROMPTS, (),
        "image", "usual definition",
        "Mean cosine distance of two different drawings; for new situations within each, then averaged.",
        grouped_prompt_types=("alter",), min_images=2,
    ),
    "lpips": Metric(
        diversity.lpips, "diversity", True, (0.0, None), REPEATED_PROMPTS, (), "rating",
        "arXiv 1801.03924",
        "Mean perceptual distance (LPIPS) of two different drawings; for new situations within each, then averaged.",
        grouped_prompt_types=("alter",), min_images=2,
    ),
    "style_loss": Metric(
        preservation.style_loss, "preservation", False, (0.0, None), BASE_PROMPTS, ("base",), "style",
        "arXiv 2309.14859, 1508.06576",
        "Difference of texture statistics to the base's drawing of the same prompt and seed.",
    ),
    "feature_drift": Metric(
        preservation.feature_drift, "preservation", False, (0.0, 2.0), BASE_PROMPTS, ("base",), "image", "ours",
        "Mean cosine distance to the base's drawing of the same prompt and seed.",
    ),
    "text_preservation": Metric(
        preservation.text_preservation, "preservation", True, (-2.0, 2.0), BASE_PROMPTS, ("texts", "base"), "image",
        "ours",
        "Change of the cosine with the prompt against the base's drawing of the same prompt and seed.",
    ),
    "frechet_distance": Metric(
        quality.frechet_distance, "quality", False, (0.0, None), ("train",), _REFERENCES, "image",
        "arXiv 1706.08500",
        "Distance between Gaussians fitted to the features of references and of drawings.",
        min_images=2, min_references=2,
    ),
    "frechet_infinity": Metric(
        quality.frechet_infinity, "quality", False, (None, None), ("train",), _REFERENCES, "image",
        "arXiv 1911.07023",
        "The Fréchet distance extrapolated to infinitely many drawings.",
        min_images=4, min_references=2, by_default=False,
    ),
    "kernel_distance": Metric(
        quality.kernel_distance, "quality", False, (-8.0, None), ("train",), _REFERENCES, "image",
        "arXiv 1801.01401",
        "Unbiased discrepancy between the feature distributions of references and drawings, cubic kernel.",
        min_images=2, min_references=2,
    ),
    "clip_iqa": Metric(
        quality.mean_prediction, "quality", True, (0.0, 1.0), TRIGGER_PROMPTS, (), "rating", "arXiv 2207.12396",
        "How much nearer the drawings are to the words good photo than to bad photo, in the eyes of a CLIP.",
    ),
    "aesthetics": Metric(
        quality.mean_prediction, "quality", True, (None, None), TRIGGER_PROMPTS, (), "rating", "arXiv 2210.08402",
        "Mean mark that LAION's aesthetic predictor gives, mostly from 1 to 10.",
    ),
    "liqe": Metric(
        quality.mean_prediction, "quality", True, (1.0, 5.0), TRIGGER_PROMPTS, (), "rating", "arXiv 2303.14968",
        "Mean quality mark of LIQE.",
    ),
    "maniqa": Metric(
        quality.mean_prediction, "quality", True, (0.0, 1.0), TRIGGER_PROMPTS, (), "rating", "arXiv 2204.08958",
        "Mean quality mark of MANIQA.",
    ),
}  # fmt: skip
"""Name -> metric. A new metric is one function and one line here."""


def describe_metrics() -> dict[str, dict[str, Any]]:
    """Dimension, direction, range, source and sentence of every metric, as JSON can hold them."""
    return {
        name: {
            "dimension": metric.dimension,
            "higher_is_better": metric.higher_is_better,
            "range": list(metric.range),
            "needs": list(metric.inputs),
            "source": metric.source,
            "about": metric.description,
        }
        for name, metric in METRICS.items()
    }


def needs_style_features(prompt_type: str, category: str) -> bool:
    """Whether any metric of this prompt type and category looks at style features.

    ``references`` as a prompt type asks for those of the dataset.
    """
    return any(
        metric.feature_kind == "style"
        and (
            any("references" in metric.inputs and metric.applies_to(k, category) for k in metric.prompt_types)
            if prompt_type == "references"
            else metric.applies_to(prompt_type, category)
        )
        for metric in METRICS.values()
    )
