"""An invalid image is named and skipped, and training continues with the rest; or it stops on request."""

import shutil
from dataclasses import replace

import pytest
from PIL import Image

import lycoris
from lycoris.data.images import InvalidImageError
from lycoris.errors import InputError
from lycoris.training import Example, TrainingJob, TrainingSettings, train
from lycoris.training.data.header_scan import HeaderScan
from lycoris.training.data.image_dataset import ImageDataset

SETTINGS = TrainingSettings(steps=2, batch_size=2)


def truncated(path):
    Image.effect_noise((300, 200), 80).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:2000])


def text(path):
    path.write_text("not an image")


def tiny(path):
    Image.new("RGB", (1, 1)).save(path)


def trained(base, examples, settings=SETTINGS, exclude=(), checkpoint=None, **more):
    network = lycoris.attach(base.parts, algorithm="lora", seed=1, exclude=exclude)
    try:
        return train(base, TrainingJob(network, examples, settings, seed=7, checkpoint=checkpoint), **more)
    finally:
        network.detach()


@pytest.mark.parametrize("spoil", [truncated, text, tiny])
def test_training_goes_on_without_an_invalid_image_as_if_it_had_not_been_there(base, examples, tmp_path, spoil):
    bad = tmp_path / "bad.png"
    spoil(bad)
    with_bad = [*examples[:2], Example(bad, "a cat"), *examples[2:]]
    result, without = trained(base, with_bad), trained(base, examples)
    assert list(result.skipped_images) == [str(bad)]
    assert str(bad) in result.skipped_images[str(bad)]
    assert (result.image_count, without.image_count, without.skipped_images) == (len(examples), len(examples), {})
    assert result.losses == without.losses


@pytest.mark.parametrize("spoil", [truncated, text, tiny])
def test_an_invalid_image_stops_the_training_on_request(base, examples, tmp_path, spoil):
    bad = tmp_path / "bad.png"
    spoil(bad)
    with pytest.raises(InvalidImageError, match=r"bad\.png"):
        trained(base, [*examples, Example(bad, "a")], replace(SETTINGS, on_invalid_image="stop"))


def test_nothing_but_invalid_images_is_an_error(base, tmp_path):
    for number in range(2):
        text(tmp_path / f"{number}.png")
    with pytest.raises(InputError, match=r"None of the 2 images can be used.*0\.png"):
        trained(base, [Example(tmp_path / f"{number}.png", "a") for number in range(2)])


def test_an_absent_file_is_an_error_and_not_an_invalid_image(base, examples, tmp_path):
    with pytest.raises(InputError, match=r"no image.*gone\.png"):
        trained(base, [*examples, Example(tmp_path / "gone.png", "a")])


def test_epochs_count_the_images_that_are_left_and_their_repeats(base, examples, tmp_path):
    bad = tmp_path / "bad.png"
    text(bad)
    some = [replace(examples[0], repeats=4), examples[1], Example(bad, "a"), replace(examples[2], prior=True)]
    assert trained(base, some, TrainingSettings(epochs=2, batch_size=5)).steps == 2


def test_images_smaller_than_their_bucket_are_counted(base, tmp_path):
    for number, size in enumerate([(32, 32), (31, 31), (16, 16), (64, 64), (200, 12)]):
        Image.new("RGB", size, "red").save(tmp_path / f"{number}.png")
    assert ImageDataset(base, sorted(tmp_path.iterdir())).upscaled_count == 3


def test_an_image_found_encoded_is_not_decoded_again(base, examples, tmp_path, monkeypatch):
    from lycoris.training.data import image_dataset

    paths = [example.image for example in examples]
    ImageDataset(base, paths, cache_folder=tmp_path)
    monkeypatch.setattr(image_dataset, "read_image", None)
    ImageDataset(base, paths, cache_folder=tmp_path)


def test_a_scan_keeps_the_rows_of_its_good_images(examples, tmp_path):
    bad = tmp_path / "bad.png"
    text(bad)
    scan = HeaderScan([examples[0].image, bad, examples[2].image], [(32, 32), (40, 24)])
    assert list(scan.valid_indices) == [0, 2]
    assert [scan.crop(row).target_size for row in range(2)] == [(32, 32), (40, 24)]
    assert scan.crop(1).original_size == (90, 60)


def test_a_repeat_below_one_is_an_error(examples):
    with pytest.raises(InputError, match="`repeats`"):
        replace(examples[0], repeats=0)


@pytest.mark.parametrize("exclude", [(), ("text_encoder.*",)])
def test_a_training_with_masks_priors_and_varied_captions_goes_on_bit_for_bit(base, examples, tmp_path, exclude):
    """All of it together, killed in the middle, from files that hold its encodings and from none."""
    some = []
    for number, one in enumerate(examples):
        path = tmp_path / "data" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(one.image, path)
        mask = Image.linear_gradient("L").resize(Image.open(path).size)
        mask.save(path.with_name(f"{number}.mask.png"))
        caption = f"a {one.caption.split()[1]}, red, cat, toy"
        alternatives = (caption, "a cat, blue", "a toy") if number == 1 else ()
        some.append(Example(path, caption, repeats=number + 1, prior=number == 3, alternatives=alternatives))
    settings = TrainingSettings(
        steps=6, batch_size=2, shuffle_tags=True, tag_dropout=0.3, prior_weight=0.5, mask="file", horizontal_flip=True
    )
    whole = trained(base, some, settings, exclude)

    class Killed(BaseException):
        pass

    def kill(done, total, loss):
        if done == 3:
            raise Killed

    state, cache = tmp_path / "state.safetensors", tmp_path / "kept"
    with pytest.raises(Killed):
        trained(
            base, some, settings, exclude, checkpoint=state, checkpoint_seconds=0, cache_folder=cache, progress=kill
        )
    result = trained(base, some, settings, exclude, checkpoint=state, cache_folder=cache)
    assert 0 < result.resume_step < 6
    assert result.losses == whole.losses
