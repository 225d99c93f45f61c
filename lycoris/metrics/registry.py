"""The table of metrics: dimension, direction, range, inputs and source of each."""

from __future__ import annotations

from typing import Any

from lycoris.metrics import controllability, diversity, fidelity, precision_recall, preservation, quality, retrieval
from lycoris.metrics.metric import (
    BASE_PROMPTS,
    CONTENT_PROMPTS,
    DATA_PROMPTS,
    REPEATED_PROMPTS,
    STYLE_CATEGORIES,
    TRIGGER_PROMPTS,
    Metric,
)
from lycoris.metrics.predicted_metrics import PREDICTED_METRICS

__all__ = ["METRICS", "STYLE_CATEGORIES", "Metric", "describe_metrics", "needs_style_features", "smallest_difference"]

_REFERENCES = ("references",)

METRICS: dict[str, Metric] = {
    "image_similarity": Metric(
        fidelity.image_similarity, "fidelity", True, (-1.0, 1.0), TRIGGER_PROMPTS, _REFERENCES, "image",
        "arXiv 2309.14859",
        "Mean cosine between the features of every reference and every generated image.",
    ),
    "squared_centroid_distance": Metric(
        fidelity.squared_centroid_distance, "fidelity", False, (0.0, 4.0), TRIGGER_PROMPTS, _REFERENCES, "image",
        "arXiv 2309.14859",
        "Squared distance between the mean features of the references and of the generated images.", scale=2.0,
    ),
    "dataset_style_loss": Metric(
        fidelity.dataset_style_loss, "fidelity", False, (0.0, None), TRIGGER_PROMPTS, _REFERENCES, "style",
        "arXiv 2309.14859, 1508.06576",
        "Mean difference of texture statistics over all pairs of a reference and a generated image.",
        styles_only=True, scale=None,
    ),
    "cmmd": Metric(
        fidelity.cmmd, "fidelity", False, (0.0, 40.0), DATA_PROMPTS, _REFERENCES, "image",
        "arXiv 2401.09603",
        "Discrepancy between the feature distributions of references and generated images, Gaussian kernel.",
        scale=20.0,
    ),
    "precision": Metric(
        precision_recall.precision, "fidelity", True, (0.0, 1.0), DATA_PROMPTS, _REFERENCES, "image",
        "arXiv 1904.06991",
        "The fraction of the generated images among the references, by nearest neighbours.",
        min_references=4, by_default=False,
    ),
    "recall": Metric(
        precision_recall.recall, "fidelity", True, (0.0, 1.0), DATA_PROMPTS, _REFERENCES, "image",
        "arXiv 1904.06991",
        "The fraction of the references among the generated images, by nearest neighbours.",
        min_images=4, by_default=False, counts_in_dimension=False,
    ),
    "density": Metric(
        precision_recall.density, "fidelity", True, (0.0, None), DATA_PROMPTS, _REFERENCES, "image",
        "arXiv 2002.09797",
        "How many of the references' neighbourhoods a generated image is in, over their expected number.",
        min_references=6, by_default=False, counts_in_dimension=False,
    ),
    "coverage": Metric(
        precision_recall.coverage, "fidelity", True, (0.0, 1.0), DATA_PROMPTS, _REFERENCES, "image",
        "arXiv 2002.09797",
        "The fraction of the references with a generated image in their neighbourhood.",
        min_references=6, by_default=False, counts_in_dimension=False, has_interval=False,
    ),
    "retrieval_precision": Metric(
        retrieval.retrieval_precision, "fidelity", True, (0.0, 1.0), TRIGGER_PROMPTS, ("references", "look_alikes"),
        "image", "usual definition",
        "How well generated images find the references among look-alikes: mean average precision.",
        by_default=False, counts_in_dimension=False,
    ),
    "copy_risk": Metric(
        fidelity.copy_risk, "fidelity", False, (-1.0, 1.0), REPEATED_PROMPTS, _REFERENCES, "image",
        "arXiv 2212.03860",
        "How close generated images come to single references: mean cosine with the most similar one.",
        counts_in_dimension=False,
    ),
    "text_similarity": Metric(
        controllability.text_similarity, "controllability", True, (-1.0, 1.0), TRIGGER_PROMPTS, ("texts",), "image",
        "arXiv 2104.08718, 2309.14859",
        "Mean cosine of every generated image with its own prompt, the trigger replaced by a description.",
        excluded_prompt_types=("trigger",),  # similarity to the description alone is fidelity, not control
    ),
    "attribute_recall": Metric(
        controllability.attribute_recall, "controllability", True, (0.0, 1.0), CONTENT_PROMPTS, ("requested",),
        "tags", "usual definition",
        "The fraction of the tags named by the prompts that a tagger detects in the images.",
    ),
    "attribute_precision": Metric(
        controllability.attribute_precision, "controllability", True, (0.0, 1.0), CONTENT_PROMPTS, ("requested",),
        "tags", "usual definition",
        "The fraction of the tags detected in the images, of the categories requested, that their prompts name.",
    ),
    "vendi": Metric(
        diversity.vendi, "diversity", True, (1.0, None), REPEATED_PROMPTS, (), "image",
        "arXiv 2210.02410",
        "The effective number of different images; for new situations within each, then averaged.",
        grouped_prompt_types=("alter",), scale=None,
    ),
    "vendi_2": Metric(
        diversity.vendi_of_order(2.0), "diversity", True, (1.0, None), REPEATED_PROMPTS, (), "image",
        "arXiv 2310.12952",
        "The Vendi score of order 2, which is less sensitive to rare images than that of order 1.",
        grouped_prompt_types=("alter",), by_default=False, scale=None,
    ),
    "vendi_inf": Metric(
        diversity.vendi_of_order(float("inf")), "diversity", True, (1.0, None), REPEATED_PROMPTS, (),
        "image", "arXiv 2310.12952",
        "The Vendi score of order infinity, which depends on the most common appearance alone.",
        grouped_prompt_types=("alter",), by_default=False, scale=None,
    ),
    "mean_pairwise_distance": Metric(
        diversity.mean_pairwise_distance, "diversity", True, (0.0, 2.0), REPEATED_PROMPTS, (),
        "image", "usual definition",
        "Mean cosine distance of two different images; for new situations within each, then averaged.",
        grouped_prompt_types=("alter",), min_images=2,
    ),
    "style_loss": Metric(
        preservation.style_loss, "preservation", False, (0.0, None), BASE_PROMPTS, ("base",), "style",
        "arXiv 2309.14859, 1508.06576",
        "Difference of texture statistics to the base's image of the same prompt and seed.", scale=None,
    ),
    "feature_drift": Metric(
        preservation.feature_drift, "preservation", False, (0.0, 2.0), BASE_PROMPTS, ("base",), "image", "ours",
        "Mean cosine distance to the base's image of the same prompt and seed.",
    ),
    "text_preservation": Metric(
        preservation.text_preservation, "preservation", True, (-2.0, 2.0), BASE_PROMPTS, ("texts", "base"), "image",
        "ours",
        "Change of the cosine with the prompt against the base's image of the same prompt and seed.",
    ),
    "frechet_distance": Metric(
        quality.frechet_distance, "quality", False, (0.0, None), ("train",), _REFERENCES, "image",
        "arXiv 1706.08500",
        "Distance between Gaussians fitted to the features of references and of generated images.",
        min_images=2, min_references=2, scale=2.0,
    ),
    "frechet_infinity": Metric(
        quality.frechet_infinity, "quality", False, (None, None), ("train",), _REFERENCES, "image",
        "arXiv 1911.07023",
        "The Fréchet distance extrapolated to infinitely many generated images.",
        min_images=4, min_references=2, by_default=False, scale=2.0,
    ),
    "kernel_distance": Metric(
        quality.kernel_distance, "quality", False, (-8.0, None), ("train",), _REFERENCES, "image",
        "arXiv 1801.01401",
        "Unbiased discrepancy between the feature distributions of references and generated images, cubic kernel.",
        min_images=2, min_references=2, scale=14.0,
    ),
    **PREDICTED_METRICS,
}  # fmt: skip
"""Name -> metric. A new metric is one function and one line here."""

SMALLEST_SHARE = 0.01
"""A difference below this share of its metric's scale is too small to matter."""


def smallest_difference(metric: str, base: float | None) -> float:
    """Return the smallest difference of a metric that matters, 0 for an unknown metric.

    Args:
        metric: its name, or that of a score.
        base: the base's value.
    """
    entry = METRICS.get(metric.partition("/")[0])
    if entry is None:
        return 0.0
    return SMALLEST_SHARE * (abs(base or 0.0) if entry.scale is None else entry.scale)


def describe_metrics() -> dict[str, dict[str, Any]]:
    """Return dimension, direction, range, inputs, source and description of every metric, as JSON values."""
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
    """Whether any metric uses the style features of images of this prompt type and category.

    The prompt type ``references`` stands for the dataset's images.
    """
    style_metrics = [metric for metric in METRICS.values() if metric.feature_kind == "style"]
    if prompt_type == "references":
        return any(
            "references" in metric.inputs and metric.applies_to(name, category)
            for metric in style_metrics
            for name in metric.prompt_types
        )
    return any(metric.applies_to(prompt_type, category) for metric in style_metrics)
