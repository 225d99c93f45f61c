"""Buckets keep a picture's shape and the base's area."""

import math

import pytest
from PIL import Image

from lycoris.errors import InputError
from lycoris.training import buckets, nearest_bucket
from lycoris.training.pictures import fit


def test_the_paper_s_buckets_at_512():
    expected = {(320, 768), (384, 640), (448, 576), (512, 512), (576, 448), (640, 384), (768, 320)}
    assert expected <= set(buckets(512, 8))
    assert all(320 <= side <= 960 and side % 64 == 0 for size in buckets(512, 8) for side in size)


def test_the_same_ratios_at_64():
    large = [(width // 8, height // 8) for width, height in buckets(512, 8)]
    assert buckets(64, 8) == large


@pytest.mark.parametrize("resolution", [32, 64, 128, 256, 512, 768, 1024])
def test_buckets_are_about_one_area_and_symmetric(resolution):
    sizes = buckets(resolution, 8)
    assert (resolution, resolution) in sizes
    assert {(height, width) for width, height in sizes} == set(sizes)
    for width, height in sizes:
        assert width * height <= resolution**2
        assert width % 8 == height % 8 == 0


@pytest.mark.parametrize("size", [(100, 100), (1000, 800), (500, 900), (640, 480), (1024, 512)])
def test_the_nearest_bucket_keeps_the_shape_within_a_step(size):
    width, height = nearest_bucket(*size, buckets(512, 8))
    assert abs(math.log(width / height) - math.log(size[0] / size[1])) < math.log(1.2)
    assert (width > height) == (size[0] > size[1])


def test_a_resolution_that_latents_cannot_have_is_refused():
    with pytest.raises(InputError, match="multiple of the VAE's factor 8, but got 100"):
        buckets(100, 8)


def test_fitting_scales_without_stretching_and_cuts_evenly():
    image = Image.new("RGB", (200, 100), "black")
    image.paste("white", (50, 0, 150, 100))
    square = fit(image, (40, 40))
    assert square.size == (40, 40)
    assert [square.getpixel((x, 20))[0] > 200 for x in (0, 20, 39)] == [True] * 3
    assert fit(image, (60, 30)).getpixel((30, 15)) == (255, 255, 255)
    assert fit(image, (60, 30)).getpixel((2, 15)) == (0, 0, 0)
    assert fit(image, image.size) is image
