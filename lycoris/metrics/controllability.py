"""Controllability: how well generated images follow their prompts."""

from __future__ import annotations

import numpy as np

from lycoris.metrics.weighted import Array, check_paired, l2_normalize, weighted_metric


@weighted_metric
def text_similarity(texts: Array, generated: Array, weights: Array) -> Array:
    """Compute the mean cosine of each generated image with its own prompt, in [-1, 1]; higher is better.

    Row i of ``texts`` is the prompt of row i of ``generated``, with a description in place of the trigger.

    Source: Hessel et al., arXiv 2104.08718; arXiv 2309.14859.
    """
    check_paired(texts, generated, "text")
    return weights @ (l2_normalize(texts) * l2_normalize(generated)).sum(1)


@weighted_metric
def attribute_recall(requested: Array, detected: Array, weights: Array) -> Array:
    """Compute the fraction of the prompts' tags that a tagger detects in the images, in [0, 1]; higher is better.

    The sums run over all images (micro average); without any requested tag the result is NaN.

    Args:
        requested: 1 where the prompt of an image names a tag, shape [images, tags].
        detected: 1 where the tagger detects a tag, same shape.
        weights: see `lycoris.metrics.weighted`.

    Source: the usual definition; see e.g. Manning et al., Introduction to Information Retrieval, section 8.3.
    """
    check_paired(requested, detected, "row of requested tags")
    return _ratio(weights @ (requested * detected).sum(1), weights @ requested.sum(1))


@weighted_metric
def attribute_precision(requested: Array, detected: Array, weights: Array) -> Array:
    """Compute the fraction of the tags detected in the images that their prompts name, in [0, 1]; higher is better.

    ``detected`` holds only tags of categories that the prompt names: a background is not wrong if none was requested.
    The sums run over all images; without any detected tag the result is NaN.

    Source: as for `attribute_recall`.
    """
    check_paired(requested, detected, "row of requested tags")
    return _ratio(weights @ (requested * detected).sum(1), weights @ detected.sum(1))


@weighted_metric
def mean_answer(answers: Array, weights: Array) -> Array:
    """Compute the mean of a network's answers to questions about the images, in [0, 1]; higher is better.

    Row i holds the sum of the answers about image i and their number, which may be 0. The sums run over all images;
    without any question the result is NaN.

    Source: that of the network, see `lycoris.metrics.quality_predictors`.
    """
    return _ratio(weights @ answers[:, 0], weights @ answers[:, 1])


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.divide(numerator, denominator, out=np.full_like(denominator, np.nan), where=denominator > 0)
