"""Five questions about a tuned model, each answered in numbers beside its base: fidelity, controllability,
diversity, preservation, quality.

`encode` turns pictures into features, once; `compare` turns features into scores; `score` does both; `between` tells
two tuned models apart, `contest` two that must have drawn the same.
"""

from lycoris.metrics.class_balancing import balanced
from lycoris.metrics.compare import between, compare, score
from lycoris.metrics.encoding import encode, encode_references
from lycoris.metrics.features import Condition, Drawings, FeatureSet, load_features, save_features
from lycoris.metrics.paired_comparison import contest
from lycoris.metrics.registry import DIMENSIONS, METRICS, Metric, describe
from lycoris.metrics.score import Score

__all__ = [
    "DIMENSIONS",
    "METRICS",
    "Condition",
    "Drawings",
    "FeatureSet",
    "Metric",
    "Score",
    "balanced",
    "between",
    "compare",
    "contest",
    "describe",
    "encode",
    "encode_references",
    "load_features",
    "save_features",
    "score",
]
