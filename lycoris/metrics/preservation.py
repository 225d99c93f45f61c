"""Preservation: how much of the base's output remains, on the same prompts and seeds."""

from __future__ import annotations

from functools import partial

from lycoris.metrics.weighted import Array, check_paired, l2_normalize, squared_distances, weighted_metric


@partial(weighted_metric, to_float64=False)
def style_loss(base: Array, generated: Array, weights: Array) -> Array:
    """Compute the mean style loss to the base's image of the same prompt and seed, at least 0; lower is better.

    Features are style features: the squared distance of two is the sum of squared differences of VGG Gram matrices.

    Source: arXiv 2309.14859; Gatys et al., arXiv 1508.06576.
    """
    check_paired(base, generated, "image of the base")
    return weights @ squared_distances(generated, base)


@weighted_metric
def feature_drift(base: Array, generated: Array, weights: Array) -> Array:
    """Compute the mean of 1 - cosine with the base's image of the same prompt and seed, in [0, 2]; lower is better.

    It is half the squared distance of the normalized features, so that equal images give exactly 0.

    Source: ours.
    """
    check_paired(base, generated, "image of the base")
    return weights @ ((l2_normalize(generated) - l2_normalize(base)) ** 2).sum(1) / 2


@weighted_metric
def text_preservation(texts: Array, base: Array, generated: Array, weights: Array) -> Array:
    """Compute the mean change of the cosine with the prompt against the base, in [-2, 2]; higher is better.

    Row i of all three belongs to one prompt and seed. 0 is no change; below 0 the tuned model follows these prompts
    less than the base does.

    Source: ours, after the text-image cosine of arXiv 2104.08718.
    """
    check_paired(texts, generated, "text")
    check_paired(base, generated, "image of the base")
    return weights @ (l2_normalize(texts) * (l2_normalize(generated) - l2_normalize(base))).sum(1)
