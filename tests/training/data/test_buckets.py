"""Buckets keep an image's shape and the base's area."""

import math

import pytest
from PIL import Image

from lycoris.errors import InputError
from lycoris.training import bucket_sizes, nearest_bucket
from lycoris.training.data.cropping import ResizeCrop, resize_and_crop
from lycoris.training.data.image_dataset import ImageDataset


def test_the_paper_s_buckets_at_512():
    expected = {(320, 768), (384, 640), (448, 576), (512, 512), (576, 448), (640, 384), (768, 320)}
    assert expected <= set(bucket_sizes(512, 8))
    assert all(320 <= side <= 960 and side % 64 == 0 for size in bucket_sizes(512, 8) for side in size)


def test_the_same_ratios_at_64():
    large = [(width // 8, height // 8) for width, height in bucket_sizes(512, 8)]
    assert bucket_sizes(64, 8) == large


@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 96, 128, 256, 384, 448, 512, 520, 640, 768, 1024, 2048])
def test_buckets_are_about_one_area_and_symmetric(resolution):
    sizes = bucket_sizes(resolution, 8)
    assert (resolution, resolution) in sizes
    assert {(height, width) for width, height in sizes} == set(sizes)
    for width, height in sizes:
        assert width * height <= resolution**2
        assert width % 8 == height % 8 == 0


@pytest.mark.parametrize("size", [(100, 100), (1000, 800), (500, 900), (640, 480), (1024, 512)])
def test_the_nearest_bucket_keeps_the_shape_within_a_step(size):
    width, height = nearest_bucket(*size, bucket_sizes(512, 8))
    assert abs(math.log(width / height) - math.log(size[0] / size[1])) < math.log(1.2)
    assert (width > height) == (size[0] > size[1])


def test_a_resolution_that_latents_cannot_have_is_refused():
    with pytest.raises(InputError, match="multiple of 8 for this base, but got 100"):
        bucket_sizes(100, 8)


@pytest.mark.parametrize(
    ("size", "sizes", "expected"),
    [
        ((100, 100), [(64, 64), (128, 128)], (128, 128)),  # of one ratio
        ((100, 100), [(64, 32), (128, 256)], (128, 256)),  # twice as wide, twice as high
        ((100, 200), [(32, 64), (64, 128)], (64, 128)),
    ],
)
def test_the_larger_of_two_equally_near_buckets_is_taken_in_any_order(size, sizes, expected):
    assert nearest_bucket(*size, sizes) == nearest_bucket(*size, sizes[::-1]) == expected


def test_fitting_scales_without_stretching_and_cuts_evenly():
    image = Image.new("RGB", (200, 100), "black")
    image.paste("white", (50, 0, 150, 100))
    square = resize_and_crop(image, (40, 40))
    assert square.size == (40, 40)
    assert [square.getpixel((x, 20))[0] > 200 for x in (0, 20, 39)] == [True] * 3
    assert resize_and_crop(image, (60, 30)).getpixel((30, 15)) == (255, 255, 255)
    assert resize_and_crop(image, (60, 30)).getpixel((2, 15)) == (0, 0, 0)
    assert resize_and_crop(image, image.size) is image


@pytest.mark.parametrize("resolution", [32, 64, 128, 256, 512, 768, 1024])
@pytest.mark.parametrize("factor", [4, 8, 16])
def test_sides_are_latents_whole_and_stay_within_the_protocol_s_proportions(resolution, factor):
    sizes = bucket_sizes(resolution, factor)
    for side in (side for size in sizes for side in size):
        assert side % factor == 0
        assert 320 / 512 * resolution <= side <= 960 / 512 * resolution
    assert (len(sizes) > 1) == (resolution >= 4 * factor)


def test_every_grid_width_at_512_is_met_by_the_greatest_height_of_its_area():
    """Written out from the rule: 320 to 960 in steps of 64, area at most 512 x 512, both ways round."""
    grid = range(320, 961, 64)
    expected = set()
    for width in grid:
        heights = [height for height in grid if width * height <= 512 * 512]
        if heights:
            expected |= {(width, max(heights)), (max(heights), width)}
    assert set(bucket_sizes(512, 8)) == expected


@pytest.mark.parametrize(
    ("original", "target", "condition"),
    [
        ((512, 512), (512, 512), (512, 512, 0, 0, 512, 512)),
        ((1024, 1024), (512, 512), (1024, 1024, 0, 0, 512, 512)),
        ((1000, 500), (768, 320), (500, 1000, 32, 0, 320, 768)),
        ((100, 400), (320, 768), (400, 100, 256, 0, 768, 320)),
        ((1024, 512), (512, 512), (512, 1024, 0, 256, 512, 512)),
    ],
)
def test_the_size_condition_tells_original_crop_and_target(original, target, condition):
    assert ResizeCrop(original, target).size_conditioning == condition


def test_the_crop_of_the_condition_is_the_one_that_is_cut():
    image = Image.linear_gradient("L").resize((300, 200)).convert("RGB")
    framing = ResizeCrop(image.size, (64, 64))
    _, _, top, left, *_ = framing.size_conditioning
    scaled = image.resize((96, 64), Image.Resampling.LANCZOS)
    cut = scaled.crop((left, top, left + 64, top + 64))
    worst = max(abs(a - b) for a, b in zip(cut.tobytes(), resize_and_crop(image, (64, 64)).tobytes(), strict=True))
    assert worst <= 2


def test_images_that_lose_more_than_a_tenth_of_a_side_are_named_and_recorded(base, tmp_path, caplog):
    for name, size in {"wide": (640, 40), "tall": (40, 640), "square": (64, 64), "nearly": (66, 64)}.items():
        Image.new("RGB", size, "red").save(tmp_path / f"{name}.png")
    dataset = ImageDataset(base, sorted(tmp_path.iterdir()))
    assert list(dataset.cropped_images) == [str(tmp_path / "tall.png"), str(tmp_path / "wide.png")]
    for path, share in dataset.cropped_images.items():
        row = [str(file) for file in sorted(tmp_path.iterdir())].index(path)
        width, height = dataset.sizes[row]
        assert share == pytest.approx(1 - 1 / 16 * max(width / height, height / width), abs=1e-3)
    assert "more than 10 % of a side from 2 of 4 images" in caplog.text
    assert "wide.png" in caplog.text
    assert "square.png" not in caplog.text
