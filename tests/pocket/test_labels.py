"""Labels of the drawn world: exact targets, and accuracies that count what a reader would count."""

import numpy as np
import pytest
import torch

from lycoris.pocket.models.labels import (
    ATTRIBUTE_LABELS,
    ATTRIBUTE_TAGS,
    LABELS,
    attribute_accuracy,
    label_loss,
    target_matrix,
)
from lycoris.pocket.training.classifiers import augment_images, resize_images
from lycoris.pocket.training.dataset import WorldDataset
from lycoris.pocket.training.evaluation import held_out_prompts, markdown_table
from lycoris.pocket.world.generator import is_held_out
from lycoris.pocket.world.vocabulary import DETAILS, SPECIES, Tags

CAT = Tags("cat", "blue", "hat", "beach", "pixel")
BARE = Tags("frog", None, None, "city", "pencil")


def stock_of(*shown: tuple[Tags, list[str]]) -> WorldDataset:
    pictures = np.zeros((len(shown), 64, 64, 3), np.uint8)
    return WorldDataset(pictures, [tags for tags, _ in shown], [details for _, details in shown])


def test_labels_are_the_tags_and_then_the_details():
    assert tuple(tag for group in ATTRIBUTE_TAGS.values() for tag in group) == ATTRIBUTE_LABELS
    assert LABELS == ATTRIBUTE_LABELS + DETAILS
    assert len(set(LABELS)) == len(LABELS)


def test_targets_mark_exactly_what_is_shown():
    rows = target_matrix(stock_of((CAT, ["horns"]), (BARE, [])), LABELS)
    assert {LABELS[k] for k in rows[0].nonzero().flatten()} == {"cat", "blue", "hat", "beach", "pixel style", "horns"}
    assert {LABELS[k] for k in rows[1].nonzero().flatten()} == {"frog", "city", "pencil style"}


def test_right_answers_score_one_and_wrong_ones_zero():
    shown = [CAT, BARE]
    right = 10 * target_matrix(stock_of((CAT, []), (BARE, [])), ATTRIBUTE_LABELS) - 5
    assert set(attribute_accuracy(right, shown).values()) == {1.0}
    assert set(attribute_accuracy(right.flip(0), shown).values()) == {0.0}


def test_colour_counts_only_where_there_is_one_and_no_accessory_is_an_answer():
    scores = -5 * torch.ones(1, len(ATTRIBUTE_LABELS))
    found = attribute_accuracy(scores, [BARE])
    assert found["accessory"] == 1.0
    assert found["colour"] == 0.0
    assert attribute_accuracy(scores.repeat(2, 1), [BARE, CAT])["accessory"] == 0.5


def test_the_loss_is_least_for_the_right_answer():
    wanted = target_matrix(stock_of((CAT, []), (BARE, [])), LABELS)
    right = 20 * wanted - 10
    assert label_loss(right, wanted) < 0.05
    assert label_loss(right.flip(0), wanted) > 20
    assert label_loss(torch.zeros_like(wanted), wanted) > 20


def test_worn_pictures_keep_their_shape_and_follow_their_seed():
    pictures = torch.rand(4, 3, 64, 64) * 2 - 1
    first = augment_images(pictures, torch.Generator().manual_seed(3))
    again = augment_images(pictures, torch.Generator().manual_seed(3))
    assert first.shape == pictures.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, pictures)
    assert resize_images(pictures, 96).shape == (4, 3, 96, 96)


def test_judged_prompts_are_held_out_and_every_species_comes_equally_often():
    wanted = held_out_prompts(48)
    assert all(is_held_out(tags) for tags in wanted)
    assert [tags.species for tags in wanted[:12]] == list(SPECIES)
    assert wanted == held_out_prompts(48)


def test_the_table_names_every_measurement():
    accuracy = dict.fromkeys(ATTRIBUTE_TAGS, 0.5) | {"style": 1.0}
    text = markdown_table({"real pictures": accuracy, "PSNR": 25.0})
    assert "| real pictures | .500 | .500 | .500 | .500 | 1.000 |" in text
    assert text.endswith("PSNR: 25.00")


@pytest.mark.parametrize("side", [64, 96])
def test_enlarging_stays_within_range(side):
    pictures = torch.sign(torch.randn(1, 3, 64, 64))
    assert resize_images(pictures, side).abs().max() <= 1
