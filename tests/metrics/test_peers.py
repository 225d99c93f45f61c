"""Metrics against other libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import spatial
from sklearn.metrics import precision_score, recall_score

from lycoris.metrics.controllability import attribute_precision, attribute_recall, text_similarity
from lycoris.metrics.diversity import mean_pairwise_distance, vendi_of_order
from lycoris.metrics.fidelity import cmmd, copy_risk, image_similarity
from lycoris.metrics.quality import frechet_distance, kernel_distance

vendi_score = pytest.importorskip("vendi_score.vendi")
torchmetrics = pytest.importorskip("torchmetrics")


def rows(count: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.4, 1, (count, dim))


def unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


class Flat(torch.nn.Module):
    """Pictures that are features already."""

    num_features = 6

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).double()


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
@pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
def test_vendi_equals_vendi_score(shape: tuple[int, int], order: float) -> None:
    x = rows(*shape)
    named = {math.inf: "inf"}.get(order, order)
    expected = vendi_score.score_K(unit(x) @ unit(x).T, q=named)
    assert vendi_of_order(order)(x) == pytest.approx(expected, rel=1e-6)
    assert vendi_of_order(order)(x) == pytest.approx(vendi_score.score_dual(x, q=named), rel=1e-6)


def test_kernel_distance_equals_torchmetrics() -> None:
    from torchmetrics.image.kid import poly_mmd

    x, y = unit(rows(8, 6)), unit(rows(8, 6, 1))
    expected = poly_mmd(torch.from_numpy(x), torch.from_numpy(y), gamma=1.0)
    assert kernel_distance(x, y) == pytest.approx(float(expected), abs=1e-12)


def test_frechet_distance_equals_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    x, y = rows(40, 6), rows(30, 6, 1) @ rows(6, 6, 2)
    peer = FrechetInceptionDistance(feature=Flat(), normalize=True)
    for array, real in ((x, True), (y, False)):
        peer.update(torch.from_numpy(array)[:, :, None, None], real=real)
    assert frechet_distance(x, y) == pytest.approx(float(peer.compute()), rel=1e-6)


def test_cosines_equal_torchmetrics_and_scipy() -> None:
    from torchmetrics.functional import pairwise_cosine_similarity
    from torchmetrics.functional.regression import cosine_similarity

    x, y = rows(7, 6), rows(5, 6, 1)
    every = pairwise_cosine_similarity(torch.from_numpy(y), torch.from_numpy(x))
    assert image_similarity(x, y) == pytest.approx(float(every.mean()), abs=1e-12)
    assert copy_risk(x, y) == pytest.approx(float(every.max(1).values.mean()), abs=1e-12)
    own = cosine_similarity(torch.from_numpy(x), torch.from_numpy(rows(7, 6, 2)), reduction="mean")
    assert text_similarity(x, rows(7, 6, 2)) == pytest.approx(float(own), abs=1e-6)  # it computes in float32
    assert mean_pairwise_distance(x) == pytest.approx(spatial.distance.pdist(x, "cosine").mean(), abs=1e-12)


def test_attributes_equal_the_micro_averages_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    wanted, found = (generator.integers(0, 2, (12, 5)) for _ in range(2))
    assert attribute_recall(wanted, found) == pytest.approx(recall_score(wanted, found, average="micro"))
    assert attribute_precision(wanted, found) == pytest.approx(precision_score(wanted, found, average="micro"))


def test_cmmd_equals_the_biased_estimate_with_the_kernel_of_scikit_learn() -> None:
    from sklearn.metrics.pairwise import rbf_kernel

    x, y = unit(rows(7, 6)), unit(rows(5, 6, 1))
    expected = sum(sign * rbf_kernel(a, b, gamma=1 / 200).mean() for sign, a, b in ((1, x, x), (1, y, y), (-2, x, y)))
    assert cmmd(x, y) == pytest.approx(1000 * expected, abs=1e-6)
