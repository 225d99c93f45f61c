"""Metrics of a tuned model next to its base: fidelity, controllability, diversity, preservation, quality.

`encode` turns images into features; `compare` turns features into scores; `score_images` does both. `compare_models`
compares two tuned models, `compare_with_champion` two that generated the same prompts and seeds.
"""

from lycoris.data.prompt_spec import PromptSpec
from lycoris.metrics.class_balancing import balance_classes
from lycoris.metrics.compare import compare, compare_models, score_images
from lycoris.metrics.encoding import encode, encode_references
from lycoris.metrics.features import FeatureSet, GeneratedImages, load_features, save_features
from lycoris.metrics.metric import Metric
from lycoris.metrics.paired_comparison import compare_with_champion
from lycoris.metrics.registry import METRICS, describe_metrics
from lycoris.metrics.score import Score, ScoreRecord

__all__ = [
    "METRICS",
    "FeatureSet",
    "GeneratedImages",
    "Metric",
    "PromptSpec",
    "Score",
    "ScoreRecord",
    "balance_classes",
    "compare",
    "compare_models",
    "compare_with_champion",
    "describe_metrics",
    "encode",
    "encode_references",
    "load_features",
    "save_features",
    "score_images",
]
