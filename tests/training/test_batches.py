"""What a step sees: shuffled epochs, grouped by size, captions dropped at their rate."""

from collections import Counter

import pytest
import torch

from lycoris.training import TrainingSettings
from lycoris.training.batches import Batches
from lycoris.training.pictures import Pictures
from lycoris.training.randomness import Order
from lycoris.training.texts import Texts


def batches_of(base, examples, **settings):
    settings = TrainingSettings(steps=1, **settings)
    pictures = Pictures(base, [example.image for example in examples], flip=settings.flip)
    texts = Texts(base, [example.caption for example in examples], adapted=False)
    return Batches(pictures, texts, base.noise, settings, seed=3)


@pytest.mark.parametrize(("pictures", "batch_size"), [(5, 2), (3, 8), (8, 8), (7, 3)])
def test_every_picture_is_seen_once_an_epoch(pictures, batch_size):
    order = Order(pictures, batch_size, seed=1)
    steps = 2 * pictures
    seen = [row for step in range(steps) for row in order(step)]
    for epoch in range(len(seen) // pictures):
        assert sorted(seen[epoch * pictures : (epoch + 1) * pictures]) == list(range(pictures))
    assert Counter(seen) == dict.fromkeys(range(pictures), 2 * batch_size)


def test_the_order_at_a_step_does_not_depend_on_the_steps_before():
    straight, late = Order(5, 3, seed=2), Order(5, 3, seed=2)
    whole = [straight(step) for step in range(20)]
    assert late(17) == whole[17]
    assert late(4) == whole[4]
    assert [Order(5, 3, seed=4)(step) for step in range(20)] != whole


def test_pictures_of_one_size_go_together(base, examples):
    batches = list(batches_of(base, examples, batch_size=5)(0))
    assert sorted(len(batch.latents) for batch in batches) == [1, 1, 3]
    for batch in batches:
        assert batch.noise.shape == batch.latents.shape
        assert len(batch.timesteps) == len(batch.conditions) == len(batch.latents)


def test_latents_keep_the_pictures_shape(base, examples):
    pictures = Pictures(base, [example.image for example in examples])
    for (width, height), (original_width, original_height) in zip(
        pictures.sizes, [(40, 40), (64, 64), (90, 60), (60, 90), (32, 32)], strict=True
    ):
        assert (width > height) == (original_width > original_height)
        assert width * height <= base.resolution**2
    assert sum(pictures.counts.values()) == len(examples)


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_captions_are_dropped_at_their_rate(base, squares, rate):
    batches = batches_of(base, squares, batch_size=10, caption_dropout=rate)
    empty = base.encode_text([""]).states[0]
    dropped = [
        torch.equal(text, empty) for step in range(100) for batch in batches(step) for text in batch.conditions.states
    ]
    assert sum(dropped) / 1000 == pytest.approx(rate, abs=0.05)


def test_flipping_shows_both_ways_and_only_when_asked(base, squares):
    one = squares[:1]
    both = batches_of(base, one, batch_size=20, flip=True)(0)
    assert len(torch.unique(next(iter(both)).latents, dim=0)) == 2
    assert len(torch.unique(next(iter(batches_of(base, one, batch_size=20)(0))).latents, dim=0)) == 1


def test_times_cover_the_whole_schedule(base, squares):
    batches = batches_of(base, squares, batch_size=50)
    times = torch.cat([batch.timesteps for step in range(40) for batch in batches(step)])
    assert times.min() < 10
    assert times.max() > 989
    assert times.float().mean() == pytest.approx(499.5, abs=30)


def test_cached_latents_are_the_computed_ones(base, examples, tmp_path):
    paths = [example.image for example in examples]
    fresh, first = Pictures(base, paths, flip=True), Pictures(base, paths, flip=True, cache=tmp_path)
    written = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    second = Pictures(base, paths, flip=True, cache=tmp_path)
    assert len(written) == 2 * len(paths)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == written
    for row in range(len(paths)):
        for mirror in (False, True):
            assert torch.equal(first.stack([row], [mirror]), fresh.stack([row], [mirror]))
            assert torch.equal(second.stack([row], [mirror]), fresh.stack([row], [mirror]))
