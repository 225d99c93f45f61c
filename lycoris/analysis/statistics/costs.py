"""What each adapter costs to train, to keep and to draw with, as data grows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lycoris.analysis.statistics.measures import COSTS
from lycoris.analysis.text.formatting import algorithm_title


def mean_costs(scores_path: Path) -> pd.DataFrame:
    """The mean of every cost over concepts and seeds.

    Args:
        scores: a study's ``scores.csv`` that has costs; of adapters with checkpoints the last counts.

    Returns:
        ``config``, ``pictures`` where adapters differ in how many they learn from, the number of ``adapters`` and a
        column for each of `lycoris.analysis.statistics.measures.COSTS` that was measured; empty without costs.
    """
    table = pd.read_csv(scores_path)
    own = table[table["name"].isin(COSTS)]
    if own.empty:
        return pd.DataFrame()
    length = "epoch" if "epoch" in own else "steps"
    if length in own:  # of a training's checkpoints the end, which all of it was spent on
        own = own[own[length] == own.groupby("config")[length].transform("max")]
    keys = ["algorithm", "config", *(["pictures"] if "pictures" in own and own["pictures"].notna().any() else [])]
    wide = own.pivot_table(index=[*keys, "run_id"], columns="name", values="value", aggfunc="first", dropna=False)
    wide = wide.dropna(how="all")
    by = wide.groupby(level=keys, sort=False, dropna=False)
    found = by.mean().assign(adapters=by.size())
    names = [name for name in COSTS if name in found]
    return found.reset_index()[[*keys, "adapters", *names]]


def describe_costs(table: pd.DataFrame) -> list[str]:
    """A line an algorithm and number of pictures, and how training time grows."""
    lines = []
    for row in table.to_dict("records"):
        parts = [
            text
            for name in COSTS
            if name in row and not pd.isna(row[name])
            for text in [_describe_cost(name, row[name])]
        ]
        lines.append(f"{row['config']}: {', '.join(parts)} (mean of {row['adapters']}).")
    if "pictures" not in table:
        return lines
    for algorithm, own in table.dropna(subset="pictures").groupby("algorithm", sort=False):
        own = own.sort_values("pictures")
        first, last = own.iloc[0], own.iloc[-1]
        if first["pictures"] < last["pictures"] and first["training_seconds"] > 0:
            lines.append(
                f"{algorithm_title(str(algorithm))}: {last['pictures'] / first['pictures']:.3g} times the pictures take "  # noqa: E501
                f"{last['training_seconds'] / first['training_seconds']:.2f} times the training."
            )
    return lines


def _describe_cost(name: str, value: float) -> str:
    return {
        "training_seconds": f"{value:.3g} s of training",
        "peak_memory": f"{value / 1e6:.0f} MB beyond the base",
        "file_bytes": f"a file of {value / 1e6:.2f} MB",
        "drawing_seconds": f"{value:.3g} s a picture",
    }[name]
