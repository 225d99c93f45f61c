"""Which images are held out from training."""

import itertools
import random

import pytest

from lycoris.data.splits import choose_rows, split_held_out
from lycoris.errors import InputError


@pytest.fixture
def files(tmp_path):
    made = [tmp_path / f"{number}.png" for number in range(10)]
    for number, file in enumerate(made):
        file.write_bytes(bytes([number]))
    return made


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.2, 2), (0.25, 3), (3, 3), (9, 9)])
def test_as_many_are_held_out_as_requested_and_none_is_on_both_sides(files, share, count):
    seen, kept = split_held_out(files, share)
    assert len(kept) == count
    assert sorted(seen + kept) == list(range(10))


def test_an_image_that_is_added_or_removed_moves_one_other_at_most(files):
    kept = {files[row] for row in split_held_out(files, 3)[1]}
    for gone in files:
        rest = [file for file in files if file != gone]
        assert len(kept - {rest[row] for row in split_held_out(rest, 3)[1]}) <= 1


def test_names_and_order_do_not_matter(files, tmp_path):
    kept = {files[row].read_bytes() for row in split_held_out(files, 3)[1]}
    renamed = [file.rename(file.with_name(f"x{9 - number}.png")) for number, file in enumerate(files)]
    assert {renamed[::-1][row].read_bytes() for row in split_held_out(renamed[::-1], 3)[1]} == kept


@pytest.mark.parametrize("share", [10, 0.95, 11])
def test_something_must_be_left_to_train_on(files, share):
    with pytest.raises(InputError, match="leave an image"):
        split_held_out(files, share)


@pytest.mark.parametrize("hold_out", [1, 2, 3, 4, 5, 0.3, 0.7])
@pytest.mark.parametrize("seed", range(20))
def test_files_with_the_same_bytes_stay_on_one_side(tmp_path, hold_out, seed):
    chance = random.Random(seed)
    made = [tmp_path / f"{number}.png" for number in range(8)]
    contents = [chance.randrange(4) for _ in made]
    contents[:2] = 0, 1
    for file, content in zip(made, contents, strict=True):
        file.write_bytes(bytes([content]))
    train, held = split_held_out(made, hold_out)
    assert train
    assert held
    assert not {contents[row] for row in train} & {contents[row] for row in held}
    assert sorted(train + held) == list(range(8))


def test_nothing_can_be_held_out_of_equal_files(tmp_path):
    made = [tmp_path / f"{number}.png" for number in range(4)]
    for file in made:
        file.write_bytes(b"same")
    assert split_held_out(made, 0) == ([0, 1, 2, 3], [])
    with pytest.raises(InputError, match="all 4 images of `bear` have the same bytes"):
        split_held_out(made, 1, "bear")


def test_fewer_images_are_among_more_and_among_those_that_are_not_held_out(files):
    files[3].write_bytes(files[4].read_bytes())
    chosen = [set(choose_rows(files, count)) for count in range(1, 11)]
    assert [len(rows) for rows in chosen] == list(range(1, 11))
    assert all(fewer < more for fewer, more in itertools.pairwise(chosen))
    for hold_out in range(1, 8):
        rows = set(split_held_out(files, hold_out)[0])
        assert set(choose_rows(files, len(rows))) == rows
