"""Does it follow the prompt? Drawings against the text they were drawn from."""

from __future__ import annotations

import numpy as np

from lycoris.metrics.weighted import Array, functional, pairs, unit


@functional
def text_similarity(texts: Array, drawings: Array, weights: Array) -> Array:
    """Mean cosine of every drawing with its own prompt, in [-1, 1]; higher is better.

    Row i of ``texts`` is the prompt of row i of ``drawings``, its trigger replaced by words that describe
    the concept.

    Source: Hessel et al., arXiv 2104.08718; arXiv 2309.14859.
    """
    pairs(texts, drawings, "text")
    return weights @ (unit(texts) * unit(drawings)).sum(1)


@functional
def attribute_recall(wanted: Array, found: Array, weights: Array) -> Array:
    """The part of the prompts' tags that a tagger finds in the drawings, in [0, 1]; higher is better.

    Args:
        wanted: 1 where the prompt of a drawing names a tag, shape [drawings, tags].
        found: 1 where the tagger finds a tag, same shape.

    The sums run over all drawings (micro average); without any wanted tag the result is NaN.

    Source: the usual definition; see e.g. Manning et al., Introduction to Information Retrieval, section 8.3.
    """
    pairs(wanted, found, "row of wanted tags")
    return _ratio(weights @ (wanted * found).sum(1), weights @ wanted.sum(1))


@functional
def attribute_precision(wanted: Array, found: Array, weights: Array) -> Array:
    """The part of the tags found in the drawings that their prompts named, in [0, 1]; higher is better.

    ``found`` holds only tags of a kind that the prompt speaks of: a background is not wrong when none was
    asked for. The sums run over all drawings; where nothing is found the result is NaN.

    Source: as for `attribute_recall`.
    """
    pairs(wanted, found, "row of wanted tags")
    return _ratio(weights @ (wanted * found).sum(1), weights @ found.sum(1))


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
