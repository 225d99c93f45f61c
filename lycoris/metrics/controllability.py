"""Does it follow the prompt? Drawings against the text they were drawn from."""

from __future__ import annotations

import numpy as np

from lycoris.metrics.weighted import Array, check_paired, l2_normalize, weighted_metric


@weighted_metric
def text_similarity(texts: Array, generated: Array, weights: Array) -> Array:
    """Mean cosine of every drawing with its own prompt, in [-1, 1]; higher is better.

    Row i of ``texts`` is the prompt of row i of ``drawings``, its trigger replaced by words that describe
    the concept.

    Source: Hessel et al., arXiv 2104.08718; arXiv 2309.14859.
    """
    check_paired(texts, generated, "text")
    return weights @ (l2_normalize(texts) * l2_normalize(generated)).sum(1)


@weighted_metric
def attribute_recall(requested: Array, detected: Array, weights: Array) -> Array:
    """The part of the prompts' tags that a tagger finds in the drawings, in [0, 1]; higher is better.

    Args:
        wanted: 1 where the prompt of a drawing names a tag, shape [drawings, tags].
        found: 1 where the tagger finds a tag, same shape.

    The sums run over all drawings (micro average); without any wanted tag the result is NaN.

    Source: the usual definition; see e.g. Manning et al., Introduction to Information Retrieval, section 8.3.
    """
    check_paired(requested, detected, "row of wanted tags")
    return _ratio(weights @ (requested * detected).sum(1), weights @ requested.sum(1))


@weighted_metric
def attribute_precision(requested: Array, detected: Array, weights: Array) -> Array:
    """The part of the tags found in the drawings that their prompts named, in [0, 1]; higher is better.

    ``found`` holds only tags of a kind that the prompt speaks of: a background is not wrong when none was
    asked for. The sums run over all drawings; where nothing is found the result is NaN.

    Source: as for `attribute_recall`.
    """
    check_paired(requested, detected, "row of wanted tags")
    return _ratio(weights @ (requested * detected).sum(1), weights @ detected.sum(1))


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.divide(numerator, denominator, out=np.full_like(denominator, np.nan), where=denominator > 0)
