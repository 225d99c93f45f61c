"""What is left of the base? Drawings of the tuned model against the base's, same prompt and same seed."""

from __future__ import annotations

from functools import partial

from lycoris.metrics.weighted import Array, functional, pairs, squares, unit


@partial(functional, convert=False)
def style_loss(base: Array, drawings: Array, weights: Array) -> Array:
    """Mean style loss to the base's drawing of the same prompt and seed, at least 0; lower is better.

    Features are style features: the squared distance of two is the sum of squared differences of VGG Gram
    matrices.

    Source: arXiv 2309.14859; Gatys et al., arXiv 1508.06576.
    """
    pairs(base, drawings, "drawing of the base")
    return weights @ squares(drawings, base)


@functional
def feature_drift(base: Array, drawings: Array, weights: Array) -> Array:
    """Mean of 1 - cosine to the base's drawing of the same prompt and seed, in [0, 2]; lower is better.

    It is computed as half the squared distance of the normalised features, so that no change is exactly 0.

    Source: ours.
    """
    pairs(base, drawings, "drawing of the base")
    return weights @ ((unit(drawings) - unit(base)) ** 2).sum(1) / 2


@functional
def text_preservation(texts: Array, base: Array, drawings: Array, weights: Array) -> Array:
    """Mean change against the base of the cosine with the prompt, in [-2, 2]; higher is better.

    Row i of all three belongs to one prompt and seed; 0 is no change, below 0 the tuned model follows these
    prompts less than the base.

    Source: ours, after the text-image cosine of arXiv 2104.08718.
    """
    pairs(texts, drawings, "text")
    pairs(base, drawings, "drawing of the base")
    return weights @ (unit(texts) * (unit(drawings) - unit(base))).sum(1)
