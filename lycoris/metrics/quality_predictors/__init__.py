"""Networks that serve a single metric, each opened by the metric's name and a file, a folder or a hub name.

Only the small network for questions about the drawn world is embedded. The others are files that their authors publish
and that users get themselves, or parts of the package ``pyiqa``, because their licenses do not permit every use.
"""

from __future__ import annotations

from lycoris.metrics.quality_predictors.clip import AestheticsPredictor, ClipIQA, QualityWeightedFeatures
from lycoris.metrics.quality_predictors.iqa import Lpips, MosPredictor
from lycoris.metrics.quality_predictors.opening import (
    PREDICTORS,
    check_quality_predictors,
    check_sources,
    open_quality_predictors,
    predictor_digests,
)

__all__ = [
    "PREDICTORS",
    "AestheticsPredictor",
    "ClipIQA",
    "Lpips",
    "MosPredictor",
    "QualityWeightedFeatures",
    "check_quality_predictors",
    "check_sources",
    "open_quality_predictors",
    "predictor_digests",
]
