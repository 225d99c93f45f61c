"""Five questions about a tuned model, each answered in numbers beside its base: fidelity, controllability,
diversity, preservation, quality.

`encode` turns pictures into features, once; `compare` turns features into scores; `score` does both; `between` tells
two tuned models apart, `contest` two that must have drawn the same.
"""

from lycoris.data.prompt_spec import PromptSpec
from lycoris.metrics.class_balancing import balance_classes
from lycoris.metrics.compare import compare, compare_models, score_images
from lycoris.metrics.encoding import encode, encode_references
from lycoris.metrics.features import FeatureSet, GeneratedImages, load_features, save_features
from lycoris.metrics.paired_comparison import compare_with_champion
from lycoris.metrics.registry import METRICS, Metric, describe_metrics
from lycoris.metrics.score import Score
from lycoris.terms import DIMENSIONS

__all__ = [
    "DIMENSIONS",
    "METRICS",
    "FeatureSet",
    "GeneratedImages",
    "Metric",
    "PromptSpec",
    "Score",
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
