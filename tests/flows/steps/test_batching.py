"""Groups of adapters that are trained together."""

import pytest

from flows.steps.batching import co_training_groups


@pytest.mark.parametrize(
    ("kinds", "max_size", "workers", "expected"),
    [
        ("aaaaaa", 4, 2, ["aaa", "aaa"]),
        ("aaabbb", 4, 2, ["aaa", "bbb"]),
        ("aabb", 4, 2, ["aa", "bb"]),
        ("aab", 4, 2, ["a", "a", "b"]),
        ("aaaa", 1, 2, ["a"] * 4),
        ("aaaaa", 4, 1, ["aa", "aaa"]),
        ("", 4, 2, []),
    ],
)
def test_groups_hold_one_kind_and_leave_no_process_idle(kinds, max_size, workers, expected):
    items = [(kind, (kind, number)) for number, kind in enumerate(kinds)]
    groups = co_training_groups(items, max_size, workers)
    assert sorted(len(group) for group in groups) == sorted(map(len, expected))
    assert sorted(item for group in groups for item in group) == [item for _, item in items]
    assert all(len({kind for kind, _ in group}) == 1 for group in groups)
