"""Colours of images as distributions in CIELAB, and how far they move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.weighted import Array, check_paired, weighted_metric

QUANTILES = 33
_RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _RGB_TO_XYZ.sum(1)


@weighted_metric
def colour_drift(base: Array, generated: Array, weights: Array) -> Array:
    """Compute the mean distance of the colours to those of the base's image, at least 0; lower is better.

    It is in units of CIELAB, where 2.3 is just noticeable. Row i holds `QUANTILES` quantiles of each of L*, a* and b*
    over the pixels of image i, so the distance is the root of the summed squared Wasserstein-2 distances of the three;
    of two images of one colour each it is their colour difference. Where things are in the image has no influence.

    Source: ours; colour difference: CIE 1976; quantiles: Vallender, Theory of Probability and Its Applications 18,
    1974.
    """
    check_paired(base, generated, "image of the base")
    return weights @ np.sqrt(((generated - base) ** 2).sum(1) / QUANTILES)


class ColourQuantiles:
    """Quantiles of the colours of each image; no network."""

    metric = "colour_drift"
    name = "cielab"
    digest = "cielab"

    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images quantiles"]:
        """Return one row per image."""
        return colour_quantiles(inputs.images)


def colour_quantiles(images: Sequence[Image.Image]) -> Float[np.ndarray, "images quantiles"]:
    """Compute the quantiles of L*, a* and b* over the pixels of each image, one after another.

    Args:
        images: of any size.
    """
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    rows = [np.quantile(to_cielab(np.asarray(image.convert("RGB"))).reshape(-1, 3), levels, axis=0) for image in images]
    return np.stack([row.T.ravel() for row in rows])


def to_cielab(pixels: np.ndarray) -> Float[np.ndarray, "*pixels 3"]:
    """Convert sRGB pixels, bytes of shape [..., 3], to CIELAB under the white D65.

    Source: IEC 61966-2-1 (sRGB); CIE 15 (CIELAB).
    """
    value = np.asarray(pixels, dtype=np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _RGB_TO_XYZ.T / _WHITE
    root = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
