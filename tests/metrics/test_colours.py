"""Colours in CIELAB and their drift."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lycoris.metrics.colours import ColourQuantiles, colour_drift, colour_quantiles, to_cielab
from lycoris.metrics.prediction import PredictionInputs

PUBLISHED = {
    (255, 255, 255): (100, 0, 0),
    (0, 0, 0): (0, 0, 0),
    (255, 0, 0): (53.24, 80.09, 67.20),
    (0, 255, 0): (87.73, -86.18, 83.18),
    (0, 0, 255): (32.30, 79.19, -107.86),
    (119, 119, 119): (50.03, 0, 0),
}
"""sRGB -> CIELAB under D65, to two places, as tables of the standard have them."""


@pytest.mark.parametrize("colour", PUBLISHED)
def test_colours_have_the_published_values(colour: tuple[int, int, int]) -> None:
    np.testing.assert_allclose(to_cielab(np.array(colour)), PUBLISHED[colour], atol=0.02)


def test_of_two_plain_images_it_is_their_colour_difference() -> None:
    first, second = (
        Image.new("RGB", size, colour) for size, colour in (((8, 8), (200, 30, 60)), ((5, 9), (10, 90, 40)))
    )
    expected = np.linalg.norm(to_cielab(np.array([200, 30, 60])) - to_cielab(np.array([10, 90, 40])))
    drift = colour_drift(colour_quantiles([first]), colour_quantiles([second]))
    assert drift == pytest.approx(expected, rel=1e-9)


def test_it_depends_on_the_colours_and_not_on_their_places() -> None:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    moved = generator.permutation(pixels.reshape(-1, 3)).reshape(pixels.shape)
    images = [Image.fromarray(pixels), Image.fromarray(moved)]
    rows = ColourQuantiles().predict(PredictionInputs(images))
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-12)
    grey = Image.fromarray(pixels).convert("L")
    assert colour_drift(rows[:1], colour_quantiles([grey])) > 10
