"""The validity of each metric: its rank correlation with the ground truth over adapters, as records and as a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lycoris.analysis.statistics.agreement import mean_rank_correlation
from lycoris.metrics.registry import METRICS
from lycoris.terms import RESIZE_MODES


def validate_metrics(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rank correlation of every metric, encoder and resize mode with the ground truth, over adapters.

    Args:
        records: ``{"concept", "adapter", "kind", "metric", "encoder", "mode", "value", "truth"}``, both numbers
            oriented so that higher is better; ``kind`` is the prompt type.

    Returns:
        ``{"metric", "encoder", "mode", "dimension", "correlation", "low", "high", "adapters", "concepts"}`` records;
        the correlation is None where all adapters are equal.
    """
    cells: dict[Any, Any] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for each in records:
        cell = cells[each["metric"], each["encoder"], each["mode"]]
        cell[each["concept"]][each["kind"]][each["adapter"]] = (each["value"], each["truth"])
    result = []
    for metric, encoder, mode in sorted(cells, key=lambda name: (list(METRICS).index(name[0]), name[1], name[2])):
        concepts = cells[metric, encoder, mode]
        pairs = []
        for by_prompt_type in concepts.values():
            names = sorted(set.intersection(*(set(own) for own in by_prompt_type.values())))
            columns = [
                np.array([own[name] for name in names]).reshape(len(names), 2) for own in by_prompt_type.values()
            ]
            pairs.append([(column[:, 0], column[:, 1]) for column in columns])
        correlation = mean_rank_correlation(pairs)
        result.append(
            {
                "metric": metric, "encoder": encoder, "mode": mode, "dimension": METRICS[metric].dimension,
                "by_mode": "references" in METRICS[metric].inputs,
                **dict(zip(("correlation", "low", "high"), correlation or (None, None, None), strict=True)),
                "adapters": sum(len(pair[0][0]) for pair in pairs if pair), "concepts": len(pairs),
            }
        )  # fmt: skip
    return result


def render_validity_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rank correlations as a Markdown table: a row per metric and encoder, a column per resize mode."""
    lines = [
        "| metric | dimension | encoder | " + " | ".join(RESIZE_MODES) + " |",
        "|---|---|---|" + "---|" * len(RESIZE_MODES),
    ]
    cells: dict[Any, dict[str, str]] = defaultdict(dict)
    for row in rows:
        cells[row["metric"], row["dimension"], row["encoder"]][row["mode"]] = _format_correlation(row)
    for (metric, dimension, encoder), own in cells.items():
        lines.append(
            f"| `{metric}` | {dimension} | {encoder} | " + " | ".join(own.get(mode, "") for mode in RESIZE_MODES) + " |"
        )
    adapters, concepts = (max((row[name] for row in rows), default=0) for name in ("adapters", "concepts"))
    return "\n".join([*lines, "", f"{adapters} adapters of {concepts} concepts."])


def _format_correlation(row: Mapping[str, Any]) -> str:
    if row["mode"] != RESIZE_MODES[0] and not row["by_mode"]:
        return "the same"
    if row["correlation"] is None:
        return "-"
    return f"{row['correlation']:.2f} [{row['low']:.2f}, {row['high']:.2f}]".replace("0.", ".")
