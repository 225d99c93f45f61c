"""Costs of adapters, in sentences."""

from __future__ import annotations

import pandas as pd

from lycoris.analysis.statistics.measures import COSTS
from lycoris.analysis.text.formatting import algorithm_title


def describe_costs(table: pd.DataFrame) -> list[str]:
    """The costs of each configuration, and how training time grows with the number of images.

    Args:
        table: of :func:`lycoris.analysis.statistics.costs.mean_costs`.
    """
    sentences = []
    for row in table.to_dict("records"):
        parts = [_describe_cost(name, row[name]) for name in COSTS if name in row and not pd.isna(row[name])]
        sentences.append(f"{row['config']}: {', '.join(parts)} (mean of {row['adapters']}).")
    if "pictures" not in table:
        return sentences
    for algorithm, own in table.dropna(subset="pictures").groupby("algorithm", sort=False):
        own = own.sort_values("pictures")
        first, last = own.iloc[0], own.iloc[-1]
        if first["pictures"] < last["pictures"] and first["training_seconds"] > 0:
            images = last["pictures"] / first["pictures"]
            seconds = last["training_seconds"] / first["training_seconds"]
            sentences.append(
                f"{algorithm_title(str(algorithm))}: {images:.3g} times the images take {seconds:.2f} times the "
                "training time."
            )
    return sentences


def _describe_cost(name: str, value: float) -> str:
    return {
        "training_seconds": f"{value:.3g} s of training",
        "peak_memory": f"{value / 1e6:.0f} MB beyond the base",
        "file_bytes": f"a file of {value / 1e6:.2f} MB",
        "drawing_seconds": f"{value:.3g} s per image",
    }[name]
