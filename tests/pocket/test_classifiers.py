"""Targets, loss and accuracy of the classifiers, and the augmentation of their images."""

import numpy as np
import pytest
import torch

from lycoris.pocket.models.labels import ATTRIBUTE_LABELS, ATTRIBUTE_TAGS, LABELS
from lycoris.pocket.models.preprocessing import augment_images, resize_images
from lycoris.pocket.training.dataset import WorldDataset
from lycoris.pocket.training.evaluation import held_out_prompts, markdown_table
from lycoris.pocket.training.multilabel import attribute_accuracy, label_loss, target_matrix
from lycoris.pocket.world.generator import is_held_out
from lycoris.pocket.world.vocabulary import DETAILS, SPECIES, Tags

CAT = Tags("cat", "blue", "hat", "beach", "pixel")
BARE = Tags("frog", None, None, "city", "pencil")


def dataset_of(*labels: tuple[Tags, list[str]]) -> WorldDataset:
    images = np.zeros((len(labels), 64, 64, 3), np.uint8)
    return WorldDataset(images, [tags for tags, _ in labels], [details for _, details in labels])


def test_labels_are_the_tags_and_then_the_details():
    assert tuple(tag for group in ATTRIBUTE_TAGS.values() for tag in group) == ATTRIBUTE_LABELS
    assert LABELS == ATTRIBUTE_LABELS + DETAILS
    assert len(set(LABELS)) == len(LABELS)


def test_targets_mark_exactly_the_tags_of_each_image():
    rows = target_matrix(dataset_of((CAT, ["horns"]), (BARE, [])), LABELS)
    assert {LABELS[k] for k in rows[0].nonzero().flatten()} == {"cat", "blue", "hat", "beach", "pixel style", "horns"}
    assert {LABELS[k] for k in rows[1].nonzero().flatten()} == {"frog", "city", "pencil style"}


def test_correct_logits_score_one_and_wrong_ones_zero():
    tags = [CAT, BARE]
    right = 10 * target_matrix(dataset_of((CAT, []), (BARE, [])), ATTRIBUTE_LABELS) - 5
    assert set(attribute_accuracy(right, tags).values()) == {1.0}
    assert set(attribute_accuracy(right.flip(0), tags).values()) == {0.0}


def test_colour_counts_only_where_there_is_one_and_no_accessory_is_an_answer():
    scores = -5 * torch.ones(1, len(ATTRIBUTE_LABELS))
    accuracy = attribute_accuracy(scores, [BARE])
    assert accuracy["accessory"] == 1.0
    assert accuracy["colour"] == 0.0
    assert attribute_accuracy(scores.repeat(2, 1), [BARE, CAT])["accessory"] == 0.5


def test_the_loss_is_least_for_the_right_answer():
    targets = target_matrix(dataset_of((CAT, []), (BARE, [])), LABELS)
    right = 20 * targets - 10
    assert label_loss(right, targets) < 0.05
    assert label_loss(right.flip(0), targets) > 20
    assert label_loss(torch.zeros_like(targets), targets) > 20


def test_augmented_images_keep_their_shape_and_follow_their_seed():
    images = torch.rand(4, 3, 64, 64) * 2 - 1
    first = augment_images(images, torch.Generator().manual_seed(3))
    second = augment_images(images, torch.Generator().manual_seed(3))
    assert first.shape == images.shape
    assert torch.equal(first, second)
    assert not torch.equal(first, images)
    assert resize_images(images, 96).shape == (4, 3, 96, 96)


def test_evaluation_prompts_are_held_out_and_every_species_is_equally_frequent():
    prompts = held_out_prompts(48)
    assert all(is_held_out(tags) for tags in prompts)
    assert [tags.species for tags in prompts[:12]] == list(SPECIES)
    assert prompts == held_out_prompts(48)


def test_the_table_names_every_measurement():
    accuracy = dict.fromkeys(ATTRIBUTE_TAGS, 0.5) | {"style": 1.0}
    text = markdown_table({"world images": accuracy, "PSNR": 25.0})
    assert "| world images | .500 | .500 | .500 | .500 | 1.000 |" in text
    assert text.endswith("PSNR: 25.00")


@pytest.mark.parametrize("size", [64, 96])
def test_resized_images_stay_within_range(size):
    images = torch.sign(torch.randn(1, 3, 64, 64))
    assert resize_images(images, size).abs().max() <= 1
