"""Every metric against a slow formula of loops, in the edge cases of image sets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from lycoris import pocket
from lycoris.data.images import list_images, read_image
from lycoris.encoders import open_style_encoder
from lycoris.metrics import METRICS
from lycoris.metrics.fidelity import dataset_style_loss
from lycoris.metrics.weighted import BLOCK_ELEMENTS, map_row_blocks
from tests.encoders.gram_matrices import gram_matrices

Slow = Callable[..., float]


def dot(x, y) -> float:
    return math.fsum(float(a) * float(b) for a, b in zip(x, y, strict=True))


def cosine(x, y) -> float:
    return dot(x, y) / math.sqrt(dot(x, x) * dot(y, y))


def squared(x, y) -> float:
    return math.fsum((float(a) - float(b)) ** 2 for a, b in zip(x, y, strict=True))


def direction(x) -> list[float]:
    return [float(a) / math.sqrt(dot(x, x)) for a in x]


def centre(rows) -> list[float]:
    return [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]


def mean(values) -> float:
    values = list(values)
    return math.fsum(values) / len(values)


def discrepancy(x, y) -> float:
    def within(a, b) -> float:
        return mean(math.exp(-squared(direction(p), direction(q)) / 200) for p in a for q in b)

    return 1000 * (within(x, x) + within(y, y) - 2 * within(x, y))


def unbiased(x, y) -> float:
    def kernel(a, b) -> float:
        return (dot(a, b) + 1) ** 3

    own = [mean(kernel(a, b) for a, b in itertools.permutations(rows, 2)) for rows in (x, y)]
    return sum(own) - 2 * mean(kernel(a, b) for a in x for b in y)


def effective(order: float) -> Slow:
    def vendi(x) -> float:
        kernel = np.array([[cosine(a, b) for a in x] for b in x]) / len(x)
        values = [value for value in np.linalg.svd(kernel, compute_uv=False) if value > 1e-14]
        if order == 1:
            return math.exp(-math.fsum(value * math.log(value) for value in values))
        return 1 / max(values) if order == math.inf else 1 / math.fsum(value**order for value in values)

    return vendi


def frechet(x, y) -> float:
    first, second = (rows.astype(float) - np.array(centre(rows)) for rows in (x, y))
    first, second = first / math.sqrt(len(x) - 1), second / math.sqrt(len(y) - 1)
    overlap = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return squared(centre(x), centre(y)) + (first**2).sum() + (second**2).sum() - 2 * overlap


def apart(distance: Slow) -> Slow:
    return lambda x: mean(distance(a, b) for a, b in itertools.combinations(x, 2))


def paired(value: Slow) -> Slow:
    return lambda *sets: mean(value(*rows) for rows in zip(*sets, strict=True))


SLOW: dict[str, Slow] = {
    "image_similarity": lambda x, y: mean(cosine(a, b) for a in x for b in y),
    "squared_centroid_distance": lambda x, y: squared(*(centre([direction(a) for a in rows]) for rows in (x, y))),
    "dataset_style_loss": lambda x, y: mean(squared(a, b) for a in x for b in y),
    "cmmd": discrepancy,
    "copy_risk": lambda x, y: mean(max(cosine(a, b) for a in x) for b in y),
    "text_similarity": paired(cosine),
    "vendi": effective(1),
    "vendi_2": effective(2),
    "vendi_inf": effective(math.inf),
    "mean_pairwise_distance": apart(lambda a, b: 1 - cosine(a, b)),
    "lpips": apart(squared),
    "style_loss": paired(squared),
    "feature_drift": paired(lambda b, x: 1 - cosine(b, x)),
    "text_preservation": paired(lambda t, b, x: cosine(t, x) - cosine(t, b)),
    "frechet_distance": frechet,
    "kernel_distance": unbiased,
    "clip_iqa": lambda x: mean(float(a) for row in x for a in row),
}


def noise(count: int, seed: int, dim: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.4, 1, (count, dim))


CASES: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "identical sets": (noise(5, 0), noise(5, 0)),
    "orthogonal features": (np.eye(6)[:3], np.eye(6)[3:]),
    "a single image": (noise(1, 0), noise(1, 1)),
    "the same single image": (noise(1, 0), noise(1, 0)),
    "repeated images": (np.repeat(noise(2, 0), 3, axis=0), np.repeat(noise(3, 1), 2, axis=0)),
    "one image again and again": (np.repeat(noise(1, 0), 4, axis=0), np.repeat(noise(1, 0), 4, axis=0)),
    "sets of unlike size": (noise(9, 0), noise(4, 1)),
    "more images than features": (noise(11, 0, 3), noise(8, 1, 3)),
    "two images": (noise(2, 0), noise(2, 1)),
    "half precision": (noise(7, 0).astype(np.float16), noise(5, 1).astype(np.float16)),
    "opposite features": (noise(4, 0), -noise(4, 0)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", SLOW)
def test_a_metric_is_its_slow_formula(name: str, case: str) -> None:
    metric = METRICS[name]
    references, generated = CASES[case]
    if len(references) < metric.min_references or len(generated) < metric.min_images:
        pytest.skip("too few images, which is an error: see the tests of errors")
    partners = np.resize(references.astype(np.float64), generated.shape).astype(references.dtype)
    arguments = {"references": references, "texts": noise(len(generated), 5, generated.shape[1]), "base": partners}
    sets = [*(arguments[role] for role in metric.inputs), generated]
    assert metric.function(*sets) == pytest.approx(SLOW[name](*sets), abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("name", ["style_loss", "feature_drift", "squared_centroid_distance", "lpips"])
def test_equal_images_are_at_distance_exactly_zero(name: str) -> None:
    x = np.repeat(noise(1, 0), 4, axis=0) if name == "lpips" else noise(4, 0)
    sets = [x] if name == "lpips" else [x, x]
    assert METRICS[name].function(*sets) == pytest.approx(0, abs=1e-30)


def test_the_style_loss_of_all_pairs_is_centroids_and_variances_on_real_images() -> None:
    encoder = open_style_encoder("vgg")
    first, second = (
        [read_image(path) for path in list_images(pocket.IMAGES / "styles" / name)[:6]] for name in ("neon", "mosaic")
    )
    grams = [gram_matrices(encoder, images) for images in (first, second)]
    pairs = [
        sum(float(((a[i] - b[j]).double() ** 2).sum()) for a, b in zip(*grams, strict=True))
        for i in range(len(first))
        for j in range(len(second))
    ]
    x, y = (encoder.style_features(images).double().numpy() for images in (first, second))
    parts = ((x.mean(0) - y.mean(0)) ** 2).sum() + x.var(0).sum() + y.var(0).sum()
    assert dataset_style_loss(x, y) == pytest.approx(np.mean(pairs), rel=1e-5)
    assert dataset_style_loss(x, y) == pytest.approx(parts, rel=1e-9)


def test_the_block_size_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import lycoris.metrics.quality as quality
    import lycoris.metrics.weighted as functional

    names = ["cmmd", "copy_risk", "frechet_distance", "kernel_distance", "precision", "recall"]
    sets = noise(40, 0), noise(37, 1)
    expected = {name: METRICS[name].function(*sets) for name in names}
    for module in (functional, quality):
        monkeypatch.setattr(module, "BLOCK_ELEMENTS", 100)
    for name in names:
        assert METRICS[name].function(*sets) == pytest.approx(expected[name], rel=1e-9, abs=1e-9), name


def test_blocks_of_rows_give_the_result_of_all_rows() -> None:
    x = noise(9, 0)
    np.testing.assert_array_equal(map_row_blocks(x, BLOCK_ELEMENTS // 4, lambda rows: rows.sum(1)), x.sum(1))
