"""Fidelity: how close generated images are to the dataset's images.

The metrics take features [images, dim] and return a float; `lycoris.metrics.weighted` explains ``weights``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from lycoris.metrics.weighted import (
    Array,
    l2_normalize,
    map_row_blocks,
    pairwise_kernel_sum,
    squared_distance_matrix,
    squared_distances,
    weighted_metric,
)

CMMD_SIGMA = 10.0
CMMD_SCALE = 1000.0
COPY_THRESHOLD = 0.75
"""The cosine of two SSCD descriptors from which nine of ten pairs of the DISC 2021 set are copies."""


@weighted_metric
def image_similarity(references: Array, generated: Array, weights: Array) -> Array:
    """Compute the mean cosine over all pairs of a reference and a generated image, in [-1, 1]; higher is better.

    Source: Ruiz et al., arXiv 2208.12242 (CLIP-I, DINO); arXiv 2309.14859.
    """
    return weights @ (l2_normalize(generated) @ l2_normalize(references).mean(0))


@weighted_metric
def squared_centroid_distance(references: Array, generated: Array, weights: Array) -> Array:
    """Compute the squared distance between the centroids of the normalized features, in [0, 4]; lower is better.

    Source: arXiv 2309.14859.
    """
    return ((weights @ l2_normalize(generated) - l2_normalize(references).mean(0)) ** 2).sum(1)


@partial(weighted_metric, to_float64=False)
def dataset_style_loss(references: Array, generated: Array, weights: Array) -> Array:
    """Compute the mean style loss over all pairs of a reference and a generated image, at least 0; lower is better.

    Features are style features, whose squared distance is the sum of squared differences of Gram matrices. The mean
    over all pairs is the squared distance of the centroids plus both total variances, so no pair is ever formed.

    Source: arXiv 2309.14859; Gatys et al., arXiv 1508.06576.
    """
    centre = references.mean(0, dtype=np.float64)
    variance = squared_distances(references, centre).mean()
    return weights @ squared_distances(generated, centre) + variance


@weighted_metric
def cmmd(references: Array, generated: Array, weights: Array) -> Array:
    """Compute 1000 times the squared maximum mean discrepancy of the normalized features; lower is better.

    The kernel is Gaussian, exp(-|x - y|² / (2·10²)). Every pair counts, including an image with itself, so the value is
    in [0, 40) and exactly 0 for two equal sets.

    Source: Jayasumana et al., arXiv 2401.09603 (there with CLIP features).
    """
    x, y = l2_normalize(generated), l2_normalize(references)
    within = map_row_blocks(y, len(y), lambda rows: _gaussian_kernel(rows, y).mean(1)).mean()
    between = map_row_blocks(x, len(y), lambda rows: _gaussian_kernel(rows, y).mean(1))
    return CMMD_SCALE * (pairwise_kernel_sum(weights, x, _gaussian_kernel) + within - 2 * weights @ between)


@weighted_metric
def copy_risk(references: Array, generated: Array, weights: Array) -> Array:
    """Compute the mean cosine of each generated image with its nearest reference, in [-1, 1]; lower is better.

    It is high if generated images repeat single training images instead of showing their subject anew.

    Source: the top-1 similarity of Somepalli et al., arXiv 2212.03860.
    """
    normalized = l2_normalize(references)
    return weights @ map_row_blocks(l2_normalize(generated), len(normalized), lambda rows: (rows @ normalized.T).max(1))


@weighted_metric
def copy_rate(references: Array, generated: Array, weights: Array) -> Array:
    """Compute the fraction of generated images that copy a reference, in [0, 1]; lower is better.

    Features are descriptors of a network for copy detection; an image is a copy where its cosine with a reference is at
    least `COPY_THRESHOLD`.

    Source: Pizzi et al., arXiv 2202.10261 (SSCD and its threshold).
    """
    normalized = l2_normalize(references)
    nearest = map_row_blocks(l2_normalize(generated), len(normalized), lambda rows: (rows @ normalized.T).max(1))
    return weights @ (nearest >= COPY_THRESHOLD)


@weighted_metric
def face_similarity(references: Array, generated: Array, weights: Array) -> Array:
    """Compute the mean cosine of the faces in generated images and references, in [-1, 1]; higher is better.

    A row of zeros is an image without a face: it counts as 0 if it was generated, and not at all among references.
    Without any face in the references the result is NaN.

    Source: ArcFace, Deng et al., arXiv 1801.07698; its mean over pairs as in arXiv 2306.00926.
    """
    faces = references[np.linalg.norm(references, axis=1) > 0]
    if len(faces) == 0:
        return np.full(len(weights), np.nan)
    lengths = np.linalg.norm(generated, axis=1, keepdims=True)
    directions = np.divide(generated, lengths, out=np.zeros_like(generated), where=lengths > 0)
    return weights @ (directions @ l2_normalize(faces).mean(0))


def _gaussian_kernel(x: Array, y: Array) -> Array:
    return np.exp(-squared_distance_matrix(x, y) / (2 * CMMD_SIGMA**2))
