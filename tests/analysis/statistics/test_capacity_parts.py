"""Dim, alpha and factor apart: each is compared where the others agree, a dim at one alpha / dim."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.effects import FACTORS, comparisons
from lycoris.analysis.statistics.ranking import Ranking, rank_table

SETTINGS = [
    ("lora", 2, 2, None), ("lora", 8, 8, None), ("lora", 32, 32, None), ("lora", 8, 1, None), ("lora", 8, 32, None),
    ("lokr", None, None, 4), ("lokr", None, None, 8),
]  # fmt: skip


def ranking(tmp_path: Path, **more: object) -> Ranking:
    rows = [
        {"concept": "a", "config": f"{place}", "algorithm": algorithm, "rank": rank, "alpha": alpha, "factor": factor,
         "captions": "all", "seed": 0, "learning_rate": 0.005, "name": "vendi/alter/clip", "value": place, **more}
        for place, (algorithm, rank, alpha, factor) in enumerate(SETTINGS)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
    return rank_table(read_table(tmp_path / "scores.csv"))


def pairs(result: Ranking, factor: str) -> set[tuple[float, float]]:
    return {(one.level, one.against) for one in comparisons(result.settings, (factor,))}


def test_each_part_is_compared_where_the_others_agree(tmp_path: Path) -> None:
    result = ranking(tmp_path)
    assert pairs(result, "dim") == {(8, 2), (32, 8), (32, 2)}
    assert {frozenset(pair) for pair in pairs(result, "alpha")} == {
        frozenset({1, 8}), frozenset({8, 32}), frozenset({1, 32}),
    }  # fmt: skip
    assert {frozenset(pair) for pair in pairs(result, "factor")} == {frozenset({4, 8})}
    assert all(len(one.pairs) == 1 for one in comparisons(result.settings, ("dim", "alpha", "factor")))


def test_by_default_capacity_is_compared_as_a_whole(tmp_path: Path) -> None:
    assert {one.factor for one in comparisons(ranking(tmp_path).settings)} <= FACTORS.keys()


def test_algorithms_of_different_length_are_compared_at_their_ends(tmp_path: Path) -> None:
    rows = [
        {"concept": "a", "config": name, "algorithm": name, "captions": "all", "seed": 0, "steps": steps,
         "name": "vendi/alter/clip", "value": steps}
        for name, lengths in (("lora", (60, 120)), ("lokr", (45, 90)))
        for steps in lengths
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
    arms = rank_table(read_table(tmp_path / "scores.csv")).settings
    [one] = comparisons(arms, ("algorithm",))
    lengths = {frozenset(arms["epoch"][list(pair)]) for pair in one.pairs}
    assert lengths == {frozenset({120.0, 90.0}), frozenset({60.0, 45.0})}
