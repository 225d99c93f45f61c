"""What moves a measure: SHAP values of a CatBoost regressor from settings to ranks, and how far to believe it."""

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
"""A model that explains less than this part of the variance on classes it has not seen explains nothing."""
CATBOOST_REQUIRED = (
    "There are no SHAP values: catboost is not installed. `pip install 'lycoris-pipeline[analysis]'` brings it; "
    "everything else was analysed."
)
CATEGORICAL_SETTINGS = ("algorithm", "preset", "captions", "base")


@dataclass(frozen=True, eq=False)
class Importance:
    """The model of one measure.

    Attributes:
        measure: whose rank it predicts.
        r2: the part of the variance of ranks explained in classes held out; None when there is one class.
        values: SHAP values in scaled rank.
    """

    measure: Measure
    r2: float | None
    shap_values: Float[np.ndarray, "arms factors"]

    @property
    def is_explained(self) -> bool:
        return self.r2 is not None and self.r2 >= MIN_R2


def is_catboost_installed() -> bool:
    """Whether catboost is installed."""
    return importlib.util.find_spec("catboost") is not None


def model_features(settings: pd.DataFrame) -> pd.DataFrame:
    """The settings a model is shown, those that vary in the table.

    Args:
        arms: as in :class:`lycoris.analysis.statistics.ranking.Ranking`.

    Returns:
        ``algorithm``, ``preset``, ``captions`` and ``base`` as words; ``learning_rate`` and ``capacity`` as steps
        above the default; ``scale`` (alpha / dim) and ``epoch`` as they are.
    """
    whole = (settings["algorithm"] == "full") & settings["size"].isna() & (settings["capacity_level"].nunique() > 1)
    top = settings["capacity_level"].max() + 1  # native fine-tuning has the largest capacity there is
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

    Seeds and groups share their settings, so a model is fitted to the mean of each adapter setting, weighed by the
    number of groups in it: the same squared error, up to a constant. Classes are dealt to five folds; R² is that of
    predictions for single groups (means over seeds) of classes held out.

    Returns:
        One entry a measure; none when no setting varies.

    Source: arXiv 2309.14859, section 5 (300 iterations at rate 0.1); SHAP values arXiv 1705.07874, 1802.03888.
    """
    shown = model_features(ranking.settings)
    if shown.empty or len(shown) < 3:
        return []
    classes = sorted(set(ranking.classes))
    fold = np.array([classes.index(name) % FOLDS for name in ranking.classes])
    found = []
    for place, measure in enumerate(ranking.measures):
        if measure.name in ranking.rows:
            cells = ranking.group_ranks[:, :, place]
            if np.isfinite(cells).any():
                found.append(Importance(measure, _cross_validated_r2(shown, cells, fold), _shap_values(shown, cells)))
    return found


def _fit_model(shown: pd.DataFrame, cells: np.ndarray) -> tuple[Any, Any]:
    import catboost

    count = np.isfinite(cells).sum(axis=1)
    kept = count > 0
    target = np.nansum(cells[kept], axis=1) / count[kept]
    words = [name for name in CATEGORICAL_SETTINGS if name in shown]
    pool = catboost.Pool(shown[kept], target, weight=count[kept], cat_features=words)
    model = catboost.CatBoostRegressor(
        iterations=ITERATIONS, learning_rate=LEARNING_RATE, one_hot_max_size=255, random_seed=0, thread_count=1,
        metric_period=ITERATIONS, verbose=False, allow_writing_files=False,
    )  # fmt: skip
    alike = len(np.unique(target.astype(np.float32))) < 2  # as CatBoost sees them
    if alike or shown[kept].nunique(dropna=False).max() < 2:
        return None, None  # nothing to explain, or nothing to explain it by
    model.fit(pool)
    return model, catboost.Pool(shown, cat_features=words)


def _shap_values(shown: pd.DataFrame, cells: np.ndarray) -> np.ndarray:
    model, everything = _fit_model(shown, cells)
    if model is None:
        return np.zeros(shown.shape)
    return model.get_feature_importance(everything, type="ShapValues")[:, :-1]


def _cross_validated_r2(shown: pd.DataFrame, cells: np.ndarray, fold: np.ndarray) -> float | None:
    """R² over the cells of classes that the model has not seen."""
    wrong, total = 0.0, 0.0
    centre = np.nanmean(cells)
    if len(set(fold)) < 2:
        return None
    for part in set(fold):
        held, rest = cells[:, fold == part], cells[:, fold != part]
        if not np.isfinite(held).any() or not np.isfinite(rest).any():
            continue
        model, everything = _fit_model(shown, rest)
        guess = model.predict(everything)[:, None] if model is not None else np.nanmean(rest)
        wrong += float(np.nansum((held - guess) ** 2))
        total += float(np.nansum((held - centre) ** 2))
    return 1.0 - wrong / total if total > 0 else None


def shap_by_level(ranking: Ranking, importances: list[Importance]) -> pd.DataFrame:
    """What each level of each factor adds to the rank of each measure.

    Returns:
        ``factor``, ``level``, ``metric``, ``prompt_type``, ``encoder``; ``shap``, the mean SHAP value of adapter
        settings at that level, in scaled rank; ``importance``, the mean absolute SHAP value of the factor; ``r2``
        held out; ``explained``: False where the model, and so its values, say nothing about classes it has not seen.
    """
    shown = model_features(ranking.settings)
    rows = []
    for one in importances:
        measure = {"metric": one.measure.metric, "prompt_type": one.measure.prompt_type, "encoder": one.measure.encoder}
        for place, factor in enumerate(shown):
            values = pd.Series(one.shap_values[:, place], index=shown.index)
            size = float(values.abs().mean())
            for level, mean in values.groupby(shown[factor]).mean().items():
                rows.append(
                    {"factor": factor, "level": level, **measure, "shap": float(mean), "importance": size}
                    | {"r2": one.r2, "explained": one.is_explained}
                )
    return pd.DataFrame(rows)
