"""Which settings change a measure: SHAP values of a CatBoost regressor from settings to ranks, and its fit."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from lycoris.analysis.statistics.configurations import UNSPECIFIED
from lycoris.analysis.statistics.measures import Measure
from lycoris.analysis.statistics.ranking import Ranking

ITERATIONS, LEARNING_RATE = 300, 0.1
FOLDS = 5
MIN_R2 = 0.1
"""A model with a lower R² on held-out classes explains nothing."""
CATBOOST_REQUIRED = (
    "There are no SHAP values because catboost is not installed; install it with `pip install "
    "'lycoris-pipeline[analysis]'`. Everything else was analyzed."
)
CATEGORICAL_SETTINGS = ("algorithm", "preset", "captions", "times", "base")


@dataclass(frozen=True, eq=False)
class Importance:
    """The model of one measure.

    Attributes:
        measure: the measure whose rank it predicts.
        r2: the fraction of the variance of ranks that it explains in held-out classes; None when there is one class.
        shap_values: SHAP values in scaled rank.
    """

    measure: Measure
    r2: float | None
    shap_values: Float[np.ndarray, "settings factors"]

    @property
    def is_explained(self) -> bool:
        """Whether R² reaches `MIN_R2`."""
        return self.r2 is not None and self.r2 >= MIN_R2


def is_catboost_installed() -> bool:
    """Whether catboost is installed."""
    return importlib.util.find_spec("catboost") is not None


def model_features(settings: pd.DataFrame) -> pd.DataFrame:
    """The inputs of a model: the settings that vary in the table.

    Args:
        settings: as in :class:`lycoris.analysis.statistics.ranking.Ranking`.

    Returns:
        ``algorithm``, ``preset``, ``captions`` and ``base`` as categories; ``learning_rate`` and ``capacity`` as steps
        above the default; ``scale`` (alpha / dim) and ``epoch`` as they are.
    """
    whole = (settings["algorithm"] == "full") & settings["size"].isna() & (settings["capacity_level"].nunique() > 1)
    top = settings["capacity_level"].max() + 1  # native fine-tuning has the largest capacity
    table = pd.DataFrame(
        {
            **{name: settings[name].replace("", UNSPECIFIED).astype(str) for name in CATEGORICAL_SETTINGS},
            "capacity": settings["capacity_level"].where(~whole, top),
            "scale": settings["scale"],
            "learning_rate": settings["rate_level"],
            "epoch": settings["epoch"],
        }
    )
    return table[[name for name in table if table[name].nunique(dropna=False) > 1]]


def explain(ranking: Ranking) -> list[Importance]:
    """A CatBoost regressor for every measure of the table, from settings to mean rank, with its SHAP values.

    Seeds and groups share their settings, so a model is fitted to the mean of each adapter setting, weighted by its
    number of groups: the same squared error, up to a constant. Classes are split into five folds; R² is that of
    predictions for single groups (means over seeds) of held-out classes.

    Returns:
        One entry per measure; none when no setting varies.

    Source: arXiv 2309.14859, section 5 (300 iterations at rate 0.1); SHAP values arXiv 1705.07874, 1802.03888.
    """
    features = model_features(ranking.settings)
    if features.empty or len(features) < 3:
        return []
    classes = sorted(set(ranking.classes))
    fold = np.array([classes.index(name) % FOLDS for name in ranking.classes])
    importances = []
    for index, measure in enumerate(ranking.measures):
        if measure.name in ranking.rows:
            ranks = ranking.group_ranks[:, :, index]
            if np.isfinite(ranks).any():
                importances.append(
                    Importance(measure, _cross_validated_r2(features, ranks, fold), _shap_values(features, ranks))
                )
    return importances


def _fit_model(features: pd.DataFrame, ranks: np.ndarray) -> tuple[Any, Any]:
    import catboost

    count = np.isfinite(ranks).sum(axis=1)
    scored = count > 0
    target = np.nansum(ranks[scored], axis=1) / count[scored]
    categorical = [name for name in CATEGORICAL_SETTINGS if name in features]
    pool = catboost.Pool(features[scored], target, weight=count[scored], cat_features=categorical)
    model = catboost.CatBoostRegressor(
        iterations=ITERATIONS, learning_rate=LEARNING_RATE, one_hot_max_size=255, random_seed=0, thread_count=1,
        metric_period=ITERATIONS, verbose=False, allow_writing_files=False,
    )  # fmt: skip
    alike = len(np.unique(target.astype(np.float32))) < 2  # in the precision of CatBoost
    if alike or features[scored].nunique(dropna=False).max() < 2:
        return None, None  # nothing to explain, or nothing to explain it by
    model.fit(pool)
    return model, catboost.Pool(features, cat_features=categorical)


def _shap_values(features: pd.DataFrame, ranks: np.ndarray) -> np.ndarray:
    model, everything = _fit_model(features, ranks)
    if model is None:
        return np.zeros(features.shape)
    return model.get_feature_importance(everything, type="ShapValues")[:, :-1]


def _cross_validated_r2(features: pd.DataFrame, ranks: np.ndarray, fold: np.ndarray) -> float | None:
    """R² over the groups of held-out classes."""
    wrong, total = 0.0, 0.0
    centre = np.nanmean(ranks)
    if len(set(fold)) < 2:
        return None
    for part in set(fold):
        held, rest = ranks[:, fold == part], ranks[:, fold != part]
        if not np.isfinite(held).any() or not np.isfinite(rest).any():
            continue
        model, everything = _fit_model(features, rest)
        guess = model.predict(everything)[:, None] if model is not None else np.nanmean(rest)
        wrong += float(np.nansum((held - guess) ** 2))
        total += float(np.nansum((held - centre) ** 2))
    return 1.0 - wrong / total if total > 0 else None


def shap_by_level(ranking: Ranking, importances: list[Importance]) -> pd.DataFrame:
    """The mean SHAP value of each level of each factor for each measure.

    Returns:
        ``factor``, ``level``, ``metric``, ``prompt_type``, ``encoder``; ``shap``, the mean SHAP value of adapter
        settings at that level, in scaled rank; ``importance``, the mean absolute SHAP value of the factor; ``r2`` on
        held-out classes; ``explained``: False where the model explains nothing there.
    """
    features = model_features(ranking.settings)
    rows = []
    for one in importances:
        measure = {"metric": one.measure.metric, "prompt_type": one.measure.prompt_type, "encoder": one.measure.encoder}
        for index, factor in enumerate(features):
            values = pd.Series(one.shap_values[:, index], index=features.index)
            size = float(values.abs().mean())
            for level, mean in values.groupby(features[factor]).mean().items():
                rows.append(
                    {"factor": factor, "level": level, **measure, "shap": float(mean), "importance": size}
                    | {"r2": one.r2, "explained": one.is_explained}
                )
    return pd.DataFrame(rows)
