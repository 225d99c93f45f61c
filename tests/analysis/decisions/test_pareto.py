"""Claims about fronts and hypervolumes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from lycoris.analysis.decisions.pareto import dominates, hypervolume, hypervolume_contributions, pareto_mask
from lycoris.errors import InputError


def by_inclusion_and_exclusion(points: np.ndarray, reference: np.ndarray) -> float:
    """The same volume from the formula for unions of boxes."""
    boxes = np.maximum(points - reference, 0.0)
    return sum(
        (-1) ** (size + 1) * boxes[list(some)].min(axis=0).prod()
        for size in range(1, len(boxes) + 1)
        for some in combinations(range(len(boxes)), size)
    )


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("count", [1, 2, 7, 9])
def test_a_hypervolume_is_that_of_a_union_of_boxes(dimensions: int, count: int) -> None:
    rng = np.random.default_rng(dimensions * 10 + count)
    points = rng.random((count, dimensions))
    reference = rng.random(dimensions) * 0.5
    expected = by_inclusion_and_exclusion(points, reference)
    assert hypervolume(points, reference) == pytest.approx(expected, abs=1e-12)


def test_many_points_in_five_dimensions_agree_with_counted_samples() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((40, 5))
    probes = rng.random((200_000, 5))
    below = np.zeros(len(probes), dtype=bool)
    for point in points:
        below |= (probes <= point).all(axis=1)
    assert hypervolume(points) == pytest.approx(below.mean(), abs=4e-3)


def test_ties_and_repeated_points_add_nothing() -> None:
    points = np.array([[0.5, 0.5, 0.2], [0.5, 0.2, 0.5], [0.5, 0.5, 0.2], [0.5, 0.2, 0.2]])
    assert hypervolume(points) == pytest.approx(by_inclusion_and_exclusion(points[:2], np.zeros(3)))
    assert pareto_mask(points).tolist() == [True, True, True, False]


def test_a_point_not_above_the_reference_adds_nothing() -> None:
    assert hypervolume(np.array([[0.9, 0.1], [0.5, 0.5]]), 0.2) == pytest.approx(0.09)
    assert hypervolume(np.zeros((0, 3))) == 0.0


def test_a_contribution_is_the_volume_lost_without_the_point() -> None:
    points = np.random.default_rng(1).random((8, 4))
    for place, part in enumerate(hypervolume_contributions(points)):
        assert part == pytest.approx(hypervolume(points) - hypervolume(np.delete(points, place, axis=0)), abs=1e-12)


def test_dominance_needs_no_worse_and_one_better() -> None:
    points = np.array([[1.0, 1.0], [1.0, 0.5], [0.0, 2.0]])
    assert dominates(points, points).tolist() == [[False, True, False], [False, False, False], [False, False, False]]


def test_a_missing_coordinate_or_too_many_dimensions_are_errors() -> None:
    with pytest.raises(InputError, match="missing"):
        pareto_mask(np.array([[0.1, np.nan]]))
    with pytest.raises(InputError, match="at most 8"):
        hypervolume(np.ones((2, 9)))


def test_contributions_are_measured_above_the_reference_point() -> None:
    points, reference = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 1.5]]), np.array([0.5, 0.5])
    np.testing.assert_allclose(hypervolume_contributions(points, reference), [0.5, 1.25, 0.0])
