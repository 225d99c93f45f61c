"""Generated images: those that show nothing are named."""

from PIL import Image

from tasks.generate import warn_of_black_images


def test_black_images_are_counted_and_named(caplog):
    black, almost = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8))
    almost.putpixel((3, 3), (0, 1, 0))
    warn_of_black_images("grumble · lora", [almost, black, almost, black])
    assert "grumble · lora: 2 of 4 images are entirely black (number 1, 3)" in caplog.text
    caplog.clear()
    warn_of_black_images("grumble · lora", [almost])
    assert caplog.text == ""
