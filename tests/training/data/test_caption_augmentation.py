"""Caption augmentation: fixed tags first, the others shuffled or dropped at their rate."""

import pytest
import torch

from lycoris.training import TrainingSettings
from lycoris.training.data.caption_augmentation import augment_caption

CAPTION = "a sks cat, red robe,hat , beach, comic style"
PARTS = ["a sks cat", "red robe", "hat", "beach", "comic style"]


def augmented(times=200, **settings):
    settings = TrainingSettings(steps=1, **settings)
    draws = torch.Generator().manual_seed(0)
    return [augment_caption(CAPTION, settings, draws).split(", ") for _ in range(times)]


def test_by_default_a_caption_stays_to_the_letter():
    assert augment_caption(CAPTION, TrainingSettings(steps=1), torch.Generator()) == CAPTION


@pytest.mark.parametrize(("keep", "orders"), [(1, 24), (2, 6), (9, 1)])
def test_shuffled_tags_are_the_same_tags_after_the_fixed_ones(keep, orders):
    captions = augmented(400, shuffle_tags=True, keep_tokens=keep)
    assert all(sorted(parts) == sorted(PARTS) and parts[:keep] == PARTS[:keep] for parts in captions)
    assert len({tuple(parts) for parts in captions}) == orders


def test_every_order_is_as_likely():
    first = [parts[1] for parts in augmented(4000, shuffle_tags=True)]
    for tag in PARTS[1:]:
        assert first.count(tag) / 4000 == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("rate", [0.25, 1.0])
def test_tags_are_dropped_at_their_rate_and_fixed_ones_never(rate):
    captions = augmented(2000, tag_dropout=rate, keep_tokens=2)
    assert all(parts[:2] == PARTS[:2] for parts in captions)
    for tag in PARTS[2:]:
        assert sum(tag in parts for parts in captions) / 2000 == pytest.approx(1 - rate, abs=0.04)
    assert all([tag for tag in PARTS if tag in parts] == parts for parts in captions)
