"""Every metric against a closed form and against an independent slow formula."""

from __future__ import annotations

import inspect
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import linalg

from lycoris.errors import InputError
from lycoris.metrics import METRICS
from lycoris.metrics.controllability import attribute_precision, attribute_recall, text_similarity
from lycoris.metrics.diversity import lpips, mean_pairwise_distance, vendi, vendi_of_order
from lycoris.metrics.fidelity import (
    cmmd,
    copy_risk,
    dataset_style_loss,
    image_similarity,
    squared_centroid_distance,
)
from lycoris.metrics.precision_recall import precision, recall
from lycoris.metrics.preservation import feature_drift, style_loss, text_preservation
from lycoris.metrics.quality import frechet_distance, frechet_infinity, kernel_distance, mean_prediction
from lycoris.metrics.weighted import pair_weight

REFERENCES, DRAWINGS, DIM = 7, 11, 5
UNPAIRED = ("references", "look_alikes")
"""Inputs whose rows do not correspond to the generated images."""


def rows(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.4, 1, (count, dim))


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(sum(a * b for a, b in zip(x, y, strict=True))) / (math.hypot(*x) * math.hypot(*y))


@pytest.fixture
def references() -> np.ndarray:
    return rows(REFERENCES)


@pytest.fixture
def generated() -> np.ndarray:
    return rows(DRAWINGS, seed=1)


def arguments(name: str, count: int = DRAWINGS, references: int = REFERENCES, dim: int = DIM) -> list[np.ndarray]:
    """Random features for a metric, those of the generated images last."""
    arrays = [
        rows(references if role in UNPAIRED else count, dim, seed)
        for seed, role in enumerate((*METRICS[name].inputs, "generated"))
    ]
    if METRICS[name].feature_kind == "prediction":  # marks, and points in a small space
        low = METRICS[name].range[0] or 0
        return [low + 1 / (1 + np.exp(-array)) for array in arrays]
    return [(array > 0).astype(float) for array in arrays] if METRICS[name].feature_kind == "tags" else arrays


# Slow formulas


def test_image_similarity_is_the_mean_cosine_of_all_pairs(references, generated) -> None:
    expected = np.mean([cosine(x, y) for x in references for y in generated])
    assert image_similarity(references, generated) == pytest.approx(expected, abs=1e-12)


def test_squared_centroid_distance_is_that_of_normalized_features(references, generated) -> None:
    centres = [sum(x / math.hypot(*x) for x in each) / len(each) for each in (references, generated)]
    expected = sum((a - b) ** 2 for a, b in zip(*centres, strict=True))
    assert squared_centroid_distance(references, generated) == pytest.approx(expected, abs=1e-12)


def test_copy_risk_is_the_mean_of_the_nearest_references_cosine(references, generated) -> None:
    expected = np.mean([max(cosine(x, y) for x in references) for y in generated])
    assert copy_risk(references, generated) == pytest.approx(expected, abs=1e-12)


def test_style_loss_against_a_dataset_is_the_double_loop(references, generated) -> None:
    for scale in (1.0, 1e-3, 30.0):
        x, y = references * scale, generated * scale + 3
        expected = np.mean([((a - b) ** 2).sum() for a in x for b in y])
        assert dataset_style_loss(x, y) == pytest.approx(expected, rel=1e-5)
        parts = ((x.mean(0) - y.mean(0)) ** 2).sum() + x.var(0).sum() + y.var(0).sum()
        assert dataset_style_loss(x, y) == pytest.approx(parts, rel=1e-10)


def test_cmmd_is_the_mean_over_every_pair_with_itself(references, generated) -> None:
    def mean(first: np.ndarray, second: np.ndarray) -> float:
        pairs = [(a / math.hypot(*a), b / math.hypot(*b)) for a in first for b in second]
        return float(np.mean([math.exp(-((a - b) ** 2).sum() / 200) for a, b in pairs]))

    expected = mean(references, references) + mean(generated, generated) - 2 * mean(references, generated)
    assert cmmd(references, generated) == pytest.approx(1000 * expected, abs=1e-9)


def test_precision_and_recall_count_balls_around_third_neighbours(references, generated) -> None:
    def covered(points: np.ndarray, balls: np.ndarray) -> float:
        hits = 0
        for point in points:
            for centre in balls:
                radius = sorted(math.dist(centre, other) for other in balls)[3]
                if math.dist(point, centre) <= radius:
                    hits += 1
                    break
        return hits / len(points)

    near = generated * 0.7
    assert 0 < covered(near, references) < 1
    assert precision(references, near) == pytest.approx(covered(near, references))
    assert recall(near, references) == pytest.approx(covered(near, references))
    with pytest.raises(InputError, match="at least 4 references, but got 3"):
        precision(references[:3], generated)


def test_text_similarity_is_paired(generated) -> None:
    texts = rows(DRAWINGS, seed=2)
    expected = np.mean([cosine(x, y) for x, y in zip(texts, generated, strict=True)])
    assert text_similarity(texts, generated) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(InputError, match="one text per image, but got 10 for 11"):
        text_similarity(texts[:-1], generated)


def test_attributes_are_counted_over_all_images() -> None:
    wanted = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]])
    found = np.array([[1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0]])
    assert attribute_recall(wanted, found) == pytest.approx(2 / 4)
    assert attribute_precision(wanted, found) == pytest.approx(2 / 4)
    assert attribute_recall(wanted, 0 * found) == 0
    assert math.isnan(attribute_precision(wanted, 0 * found))


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (6, 6), (1, 3)])
@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, math.inf])
def test_vendi_is_that_of_the_full_matrix_for_every_shape(shape: tuple[int, int], order: float) -> None:
    x = rows(*shape)
    kernel = np.array([[cosine(a, b) for a in x] for b in x]) / len(x)
    values = [value for value in np.linalg.eigvals(kernel).real if value > 1e-12]
    if order == 1:
        expected = math.exp(-sum(value * math.log(value) for value in values))
    elif order == math.inf:
        expected = 1 / max(values)
    else:
        expected = sum(value**order for value in values) ** (1 / (1 - order))
    assert vendi_of_order(order)(x) == pytest.approx(expected, rel=1e-6)


SPECTRA = {
    "more rows than columns": rows(60, 21),
    "more columns than rows": rows(21, 60),
    "as many": rows(24, 24),
    "rows twice": np.concatenate([rows(12, 40), rows(12, 40)]),
    "orthogonal rows": np.eye(20, 30),
    "one direction and noise": 1 + 1e-6 * rows(40, 18),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("gone", [1, 3])
def test_vendi_without_a_few_images_is_that_of_the_others(name: str, gone: int) -> None:
    x = SPECTRA[name]
    kept = (np.arange(len(x)) - np.arange(-1, 20)[:, None]) % len(x) >= gone
    kept[0] = True
    kept[1, 1:] = True
    together = vendi(x, weights=kept / kept.sum(1, keepdims=True))
    assert together == pytest.approx([vendi(x[row]) for row in kept], rel=1e-9)


def test_vendi_with_other_weights_is_that_of_the_weighted_matrix() -> None:
    x = rows(30, 20)
    weights = np.full((20, 30), 1.0)
    weights[:, 3] = np.linspace(0, 0.9, 20)
    weights /= weights.sum(1, keepdims=True)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    values = np.linalg.eigvalsh((unit.T * weights[:, None]) @ unit)
    assert vendi(x, weights=weights) == pytest.approx(np.exp(-(values * np.log(values)).sum(1)), rel=1e-9)


def test_there_is_no_pair_only_where_one_image_has_all_the_weight_up_to_rounding() -> None:
    weights = np.array([[1, 0], [1 - 1e-13, 1e-13], [1 - 1e-11, 1e-11], [0.5, 0.5]])
    single, rounded, small, equal = pair_weight(weights)
    assert math.isnan(single)
    assert math.isnan(rounded)
    assert small == pytest.approx(2e-11, rel=1e-3)
    assert equal == pytest.approx(0.5)


def test_mean_pairwise_distance_is_over_pairs_of_different_images(generated) -> None:
    expected = np.mean([1 - cosine(x, y) for x, y in itertools.combinations(generated, 2)])
    assert mean_pairwise_distance(generated) == pytest.approx(expected, abs=1e-12)


def test_preservation_metrics_are_paired(generated) -> None:
    base, texts = rows(DRAWINGS, seed=2), rows(DRAWINGS, seed=3)
    trio = list(zip(texts, base, generated, strict=True))
    expected = np.mean([((b - x) ** 2).sum() for _, b, x in trio])
    assert style_loss(base, generated) == pytest.approx(expected, rel=1e-12)
    expected = np.mean([1 - cosine(b, x) for _, b, x in trio])
    assert feature_drift(base, generated) == pytest.approx(expected, abs=1e-12)
    expected = np.mean([cosine(t, x) - cosine(t, b) for t, b, x in trio])
    assert text_preservation(texts, base, generated) == pytest.approx(expected, abs=1e-12)
    for metric in (style_loss, feature_drift):
        with pytest.raises(InputError, match="one image of the base per image"):
            metric(base[1:], generated)


@pytest.mark.parametrize(("n", "m", "dim"), [(40, 30, 6), (30, 40, 6), (7, 40, 6), (40, 7, 6), (5, 6, 20), (2, 3, 4)])
def test_frechet_distance_is_that_of_the_matrix_square_root(n: int, m: int, dim: int) -> None:
    x, y = rows(n, dim), rows(m, dim, 1) @ rows(dim, dim, 2) + 0.5
    first, second = np.cov(x.T), np.cov(y.T)
    values = linalg.eigvals(first @ second)
    root = np.sqrt(np.clip(values.real, 0, None)).sum()
    if min(n, m) > dim:
        assert linalg.sqrtm(first @ second).trace().real == pytest.approx(root, rel=1e-9)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second) - 2 * root
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_gaussians_in_one_dimension_has_a_closed_form() -> None:
    x, y = np.array([[1.0], [3.0]]), np.array([[10.0], [10.0], [16.0]])
    expected = (2 - 12) ** 2 + (math.sqrt(2) - math.sqrt(12)) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_is_the_u_statistic(references, generated) -> None:
    def mean(pairs) -> float:
        return float(np.mean([(float(a @ b) + 1) ** 3 for a, b in pairs]))

    expected = mean(itertools.permutations(references, 2)) + mean(itertools.permutations(generated, 2))
    expected -= 2 * mean(itertools.product(references, generated))
    assert kernel_distance(references, generated) == pytest.approx(expected, rel=1e-10)


def test_frechet_infinity_is_the_intercept_over_the_inverse_size(references) -> None:
    x, y = rows(30), rows(5, seed=1)
    order = (y @ np.random.default_rng(0).normal(scale=1000, size=(DIM, 4))) % 1
    values = []
    for size in (2, 3, 4):
        values.append(np.mean([frechet_distance(x, y[np.argsort(order[:, each])[:size]]) for each in range(4)]))
    values.append(frechet_distance(x, y))
    slope, intercept = linalg.lstsq(np.array([[1 / size, 1] for size in (2, 3, 4, 5)]), np.array(values))[0]
    assert slope > 0
    assert frechet_infinity(x, y) == pytest.approx(intercept, rel=1e-9)
    with pytest.raises(InputError, match="at least 4 generated images, but got 3"):
        frechet_infinity(references, y[:3])


def test_frechet_infinity_is_nearer_to_the_distance_of_the_distributions() -> None:
    generator = np.random.default_rng(0)
    references = generator.normal(size=(20_000, 12))
    for _ in range(2):
        generated = generator.normal(0.3, 1, (120, 12))
        far, near = frechet_distance(references, generated), frechet_infinity(references, generated)
        assert abs(near - 12 * 0.3**2) < abs(far - 12 * 0.3**2)


def test_a_prediction_is_averaged_over_images_and_lpips_over_pairs(generated) -> None:
    marks = rows(DRAWINGS, 1)
    assert mean_prediction(marks) == pytest.approx(sum(marks[:, 0]) / DRAWINGS, abs=1e-12)
    expected = np.mean([math.dist(x, y) ** 2 for x, y in itertools.combinations(generated, 2)])
    assert lpips(generated) == pytest.approx(expected, rel=1e-12)


# Closed forms


def test_identical_sets_are_at_distance_zero(references) -> None:
    assert squared_centroid_distance(references, references) == pytest.approx(0, abs=1e-15)
    assert cmmd(references, references) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(references, references) == pytest.approx(0, abs=1e-9)
    assert copy_risk(references, references) == pytest.approx(1, abs=1e-12)
    assert style_loss(references, references) == 0
    assert feature_drift(references, references) == 0
    assert text_preservation(references, references, references) == 0


def test_orthogonal_features_have_similarity_zero() -> None:
    x, y = np.eye(6)[:3], np.eye(6)[3:]
    assert image_similarity(x, y) == 0
    assert copy_risk(x, y) == 0
    assert squared_centroid_distance(x, y) == pytest.approx(2 / 3)
    assert vendi(np.eye(6)) == pytest.approx(6)
    assert mean_pairwise_distance(np.eye(6)) == pytest.approx(1)
    assert dataset_style_loss(x, y) == pytest.approx(2)


def test_repeated_images_count_once() -> None:
    one = np.tile(rows(1), (5, 1))
    assert vendi(one) == pytest.approx(1)
    assert mean_pairwise_distance(one) == pytest.approx(0, abs=1e-12)
    assert image_similarity(one, one) == pytest.approx(1)
    twice = np.repeat(np.eye(4), 2, axis=0)
    for order in (0.5, 1.0, 2.0, math.inf):
        assert vendi_of_order(order)(twice) == pytest.approx(4)


def test_a_single_image_suffices_unless_a_metric_needs_more() -> None:
    x, y = np.array([[3.0, 4.0]]), np.array([[4.0, 3.0]])
    assert image_similarity(x, y) == pytest.approx(0.96)
    assert squared_centroid_distance(x, y) == pytest.approx(0.08)
    assert dataset_style_loss(x, y) == pytest.approx(2)
    assert vendi(x) == pytest.approx(1)
    for metric in (frechet_distance, kernel_distance):
        with pytest.raises(InputError, match="at least 2 references, but got 1"):
            metric(x, rows(3, 2))
        with pytest.raises(InputError, match="at least 2 generated images, but got 1"):
            metric(rows(3, 2), x)
    with pytest.raises(InputError, match="at least 2 generated images, but got 1"):
        mean_pairwise_distance(x)


@pytest.mark.parametrize("name", METRICS)
def test_min_images_suffice_and_are_at_most_two_for_most_metrics(name: str) -> None:
    metric = METRICS[name]
    assert math.isfinite(metric.function(*arguments(name, metric.min_images, metric.min_references)))
    assert max(metric.min_images, metric.min_references) <= 2 or not metric.by_default


# Claims about the whole table


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_within_its_range(name: str) -> None:
    low, high = METRICS[name].range
    for seed in range(4):
        arrays = [array[seed:] for array in arguments(name, references=REFERENCES + 3)]
        if METRICS[name].feature_kind == "image":
            arrays = [array / np.linalg.norm(array, axis=1, keepdims=True) for array in arrays]
        value = METRICS[name].function(*arrays)
        assert low is None or value >= low - 1e-12
        assert high is None or value <= high + 1e-12


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_images_changes_nothing(name: str) -> None:
    arrays = arguments(name)
    order = np.random.default_rng(3).permutation(DRAWINGS)
    roles = (*METRICS[name].inputs, "generated")
    mixed = [array[::-1] if role in UNPAIRED else array[order] for role, array in zip(roles, arrays, strict=True)]
    expected = METRICS[name].function(*arrays)
    assert METRICS[name].function(*mixed) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    "name", [name for name, each in METRICS.items() if each.feature_kind == "image" and each.dimension != "quality"]
)
def test_the_length_of_image_features_matters_to_quality_alone(name: str) -> None:
    arrays = arguments(name)
    scaled = METRICS[name].function(*(3 * array for array in arrays))
    assert scaled == pytest.approx(METRICS[name].function(*arrays), rel=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_half_precision_and_tensors_are_computed_in_double(name: str) -> None:
    arrays = [array.astype(np.float16) for array in arguments(name)]
    expected = METRICS[name].function(*(array.astype(np.float64) for array in arrays))
    assert METRICS[name].function(*arrays) == expected
    assert METRICS[name].function(*(torch.from_numpy(array) for array in arrays)) == expected


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("dim", [3, 30])
def test_weights_that_leave_an_image_out_give_the_metric_without_it(name: str, dim: int) -> None:
    arrays = arguments(name, dim=dim)
    weights = (1 - np.eye(DRAWINGS)) / (DRAWINGS - 1)
    without = METRICS[name].function(*arrays, weights=weights)
    assert without.shape == (DRAWINGS,)
    for index in range(DRAWINGS):
        kept = [
            array if role in UNPAIRED else np.delete(array, index, axis=0)
            for role, array in zip((*METRICS[name].inputs, "generated"), arrays, strict=True)
        ]
        assert without[index] == pytest.approx(METRICS[name].function(*kept), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_errors_name_invalid_features(name: str) -> None:
    arrays = arguments(name)
    broken = arrays[-1].copy()
    broken[4, 1] = np.nan
    with pytest.raises(InputError, match="row 4"):
        METRICS[name].function(*arrays[:-1], broken)
    with pytest.raises(InputError, match="not empty"):
        METRICS[name].function(*arrays[:-1], arrays[-1][:0])
    with pytest.raises(InputError, match="weights"):
        METRICS[name].function(*arrays, weights=np.ones((2, DRAWINGS)))
    if METRICS[name].inputs:
        with pytest.raises(InputError, match="one width"):
            METRICS[name].function(*arrays[:-1], arrays[-1][:, :-1])


def test_a_feature_without_direction_is_an_error() -> None:
    with pytest.raises(InputError, match="row 1 is zero"):
        image_similarity(np.ones((2, 3)), np.array([[1.0, 0, 0], [0, 0, 0]]))


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_described(name: str) -> None:
    metric = METRICS[name]
    assert metric.description.endswith(".")
    assert metric.source
    text = inspect.getdoc(metric.function) or ""
    direction = "higher is better" if metric.higher_is_better else "lower is better"
    assert direction in text
    assert "Source:" in text
