"""Claims about SHAP values and about which measures agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lycoris.analysis.statistics import importance
from lycoris.analysis.statistics.correlations import (
    agreement_by_attribute,
    correlate,
    differing_attribute,
    measure_pairs,
)
from lycoris.analysis.statistics.measures import measure_from_column
from lycoris.analysis.statistics.ranking import rank_table


@pytest.fixture(scope="session")
def ranking(table):
    return rank_table(table)


def test_correlations_are_spearmans_within_groups(table, ranking):
    result = correlate(ranking)
    remaining = ~table.rows["aggregate"]
    names = [one.name for one in result.measures]
    for first, second in ((0, 1), (0, len(names) - 1), (1, len(names) // 2)):
        slow = []
        for group in ranking.groups:
            own = table.scores[remaining & (table.rows["group"] == group)]
            turn = [1 if result.measures[place].higher_is_better else -1 for place in (first, second)]
            slow.append(stats.spearmanr(turn[0] * own[names[first]], turn[1] * own[names[second]]).statistic)
        assert result.matrix[first, second] == pytest.approx(np.mean(slow), abs=1e-9)
    np.testing.assert_allclose(result.matrix, result.matrix.T)
    np.testing.assert_allclose(np.diag(result.matrix), 1.0)


def test_every_pair_of_measures_is_listed_once_with_an_interval(ranking):
    result = correlate(ranking)
    table = measure_pairs(result)
    count = len(result.measures)
    assert len(table) == count * (count - 1) // 2
    assert ((table["low"] <= table["correlation"]) & (table["correlation"] <= table["high"])).all()


def test_resize_modes_agree_more_than_prompt_types(ranking):
    result = agreement_by_attribute(measure_pairs(correlate(ranking)))
    assert result.loc["resize_mode", "correlation"] > 0.8
    assert (result["lowest"] <= result["highest"]).all()


@pytest.mark.parametrize(
    ("one", "other", "attribute"),
    [
        ("Image Similarity (a-crop) (in)", "Image Similarity (a-padding) (in)", "resize_mode"),
        ("Image Similarity (a-crop) (in)", "Image Similarity (b-crop) (in)", "encoder"),
        ("Image Similarity (a-crop) (in)", "Image Similarity (a-crop) (out)", "prompt_type"),
        ("Image Similarity (a-crop) (in)", "Squared Centroid Distance (a-crop) (in)", "metric"),
        ("Image Similarity (a-crop) (in)", "Vendi (a) (in)", "metric"),
        ("Image Similarity (a-crop) (in)", "Text Similarity (in)", "metric"),
        ("Image Similarity (a-crop) (in)", "Vendi (b) (in)", "several"),
        ("Image Similarity (a-crop) (in)", "Text Similarity (out)", "several"),
    ],
)
def test_the_differing_attribute_of_two_measures(one, other, attribute):
    assert differing_attribute(measure_from_column(one), measure_from_column(other)) == attribute
    assert differing_attribute(measure_from_column(other), measure_from_column(one)) == attribute


@pytest.fixture(scope="module")
def models(ranking):
    pytest.importorskip("catboost")
    few = [place for place, one in enumerate(ranking.measures) if one.name in ranking.rows][-3:]
    remaining = replace(
        ranking,
        measures=[ranking.measures[place] for place in few],
        group_ranks=ranking.group_ranks[:, :, few],
        seed_ranks=ranking.seed_ranks[:, :, few],
    )
    return remaining, importance.explain(remaining)


def test_shap_values_add_up_to_the_prediction(models):
    ranking, result = models
    assert len(result) == 3
    for place, one in enumerate(result):
        mean = np.nanmean(ranking.group_ranks[:, :, place], axis=1)
        guess = one.shap_values.sum(axis=1) + mean.mean()
        assert np.corrcoef(guess, mean)[0, 1] > 0.95
        assert np.abs(guess - mean).mean() < np.abs(mean - mean.mean()).mean()


def test_r2_is_computed_on_held_out_classes(models):
    """The folds once more by hand: fit a model without a fold's classes, and predict their ranks."""
    import catboost

    ranking, result = models
    displayed = importance.model_features(ranking.settings)
    words = [name for name in importance.CATEGORICAL_SETTINGS if name in displayed]
    classes = sorted(set(ranking.classes))
    for place, one in enumerate(result[:1]):
        cells = ranking.group_ranks[:, :, place]
        wrong = 0.0
        for fold in range(min(5, len(classes))):
            recorded = [group for group, name in enumerate(ranking.classes) if classes.index(name) % 5 != fold]
            held = sorted({*range(len(ranking.classes))} - {*recorded})
            model = catboost.CatBoostRegressor(
                iterations=300, learning_rate=0.1, one_hot_max_size=255, random_seed=0, thread_count=1, verbose=False,
                allow_writing_files=False,
            )  # fmt: skip
            model.fit(catboost.Pool(displayed, cells[:, recorded].mean(axis=1), cat_features=words))
            guess = model.predict(catboost.Pool(displayed, cat_features=words))
            wrong += sum((cells[arm, group] - guess[arm]) ** 2 for arm in range(len(cells)) for group in held)
        # Splits that are as good as each other fall either way in the last digits.
        assert one.r2 == pytest.approx(1 - wrong / ((cells - cells.mean()) ** 2).sum(), abs=2e-3)


def test_noise_is_unexplained(ranking):
    pytest.importorskip("catboost")
    noise = np.random.default_rng(0).random((*ranking.group_ranks.shape[:2], 1))
    seeds = ranking.seed_ranks[:, :, :1]
    blind = replace(ranking, measures=ranking.measures[:1], group_ranks=noise, seed_ranks=seeds)
    [model] = importance.explain(blind)
    assert model.r2 < importance.MIN_R2
    table = importance.shap_by_level(blind, [model])
    assert not table["explained"].any()


def test_one_class_cannot_be_held_out(ranking):
    pytest.importorskip("catboost")
    alone = replace(ranking, measures=ranking.measures[:1], classes=["one"] * len(ranking.groups))
    [model] = importance.explain(alone)
    assert model.r2 is None
    assert not model.is_explained


def test_ranks_that_differ_by_rounding_alone_explain_nothing(ranking):
    cells = np.full_like(ranking.group_ranks, 0.5)
    cells[::2] = np.nextafter(0.5, 1)
    assert len(np.unique(cells)) == 2
    for result in importance.explain(replace(ranking, group_ranks=cells)):
        assert not result.shap_values.any()


def test_levels_are_means_over_their_settings(models):
    ranking, result = models
    displayed = importance.model_features(ranking.settings)
    place = list(displayed).index("algorithm")
    table = importance.shap_by_level(ranking, result).query("factor == 'algorithm'")
    for one in result:
        own = table[[one.measure.name == "/".join(filter(None, row)) for row in
                     table[["metric", "prompt_type", "encoder"]].to_numpy()]]  # fmt: skip
        assert set(own["level"]) == set(displayed["algorithm"])
        for row in own.to_dict("records"):
            values = one.shap_values[(displayed["algorithm"] == row["level"]).to_numpy(), place]
            assert row["shap"] == pytest.approx(values.mean())
            assert row["importance"] == pytest.approx(np.abs(one.shap_values[:, place]).mean())
