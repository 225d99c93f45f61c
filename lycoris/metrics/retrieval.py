"""Identity by retrieval: whether generated images find the concept in a gallery that also holds its look-alikes."""

from __future__ import annotations

import numpy as np

from lycoris.metrics.weighted import Array, l2_normalize, map_row_blocks, weighted_metric

COSINE_DECIMALS = 12
"""Cosines that differ by rounding alone are equal, so that the order of images changes nothing."""


@weighted_metric
def retrieval_precision(references: Array, look_alikes: Array, generated: Array, weights: Array) -> Array:
    """Compute the mean average precision of generated images as queries, in [0, 1]; higher is better.

    The gallery holds the references and the look-alikes, ranked by their cosine with a query. The average precision of
    a query is the mean over the references of the fraction of references among all images that are at least as close.
    It is 1 where every reference is closer than every look-alike; of a gallery in random order it is about the share of
    the references in it. Unlike a similarity it does not depend on what all images of the gallery have in common.

    Source: mean average precision as in Manning et al., Introduction to Information Retrieval, section 8.4.
    """
    own, others = l2_normalize(references), l2_normalize(look_alikes)

    def average_precision(rows: Array) -> Array:
        near = np.round(rows @ own.T, COSINE_DECIMALS)
        far = np.round(rows @ others.T, COSINE_DECIMALS)
        found = (near[:, None, :] >= near[:, :, None]).sum(2)
        return (found / (found + (far[:, None, :] >= near[:, :, None]).sum(2))).mean(1)

    width = len(own) * (len(own) + len(others))
    return weights @ map_row_blocks(l2_normalize(generated), width, average_precision)
