"""Which images are held out from training."""

import pytest

from lycoris.data.splits import split_held_out
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
