"""Names of adapter settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lycoris.analysis.statistics.configurations import FULL_RANK_DIM, UNSPECIFIED
from lycoris.analysis.text.formatting import algorithm_title

_LABEL_SETTINGS = ("capacity", "preset", "learning_rate", "epoch", "captions", "times", "strength", "base")


def label_settings(settings: pd.DataFrame, length_unit: str) -> list[str]:
    """The name of every setting: its algorithm, and everything that differs between settings.

    Args:
        settings: as in :class:`lycoris.analysis.statistics.ranking.Ranking`.
        length_unit: the unit of ``epoch``: ``"epochs"`` or ``"steps"``.

    Returns:
        Names such as ``LoKr, factor 8, learning rate 0.007, captions none``. Where two would be equal, the
        configuration follows in parentheses.
    """
    names = [name for name in _LABEL_SETTINGS if _differs(settings, name)]
    labels = [_label(row, names, length_unit) for row in settings.to_dict("records")]
    return [
        f"{label} ({config})" if labels.count(label) > 1 else label
        for label, config in zip(labels, settings["config"], strict=True)
    ]


def full_setting_label(settings: Mapping[str, Any], length_unit: str) -> str:
    """One setting with everything that is known of it, except its base."""
    row = {"capacity": _capacity_label(settings), **settings}
    names = [name for name in _LABEL_SETTINGS if row.get(name) not in (None, "", UNSPECIFIED) and name != "base"]
    return _label(row, names, length_unit)


def _capacity_label(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{label} {settings[name]:g}"
        for name, label in (("factor", "factor"), ("dim", "rank"), ("alpha", "alpha"))
        if name in settings and (name == "factor" or settings.get("dim", 0) < FULL_RANK_DIM)
    )


def _differs(settings: pd.DataFrame, name: str) -> bool:
    """Whether a setting differs between settings of one algorithm."""
    return any(own[name].astype(str).nunique() > 1 for _, own in settings.groupby("algorithm"))


def _label(row: Mapping[str, Any], names: list[str], length_unit: str) -> str:
    parts = [algorithm_title(str(row.get("algorithm", "")))]
    for name in names:
        value = row[name]
        if pd.isna(value) or value in ("", UNSPECIFIED):
            continue
        if name == "capacity":
            parts.append(str(value).replace("dim ", "rank "))
        elif name == "learning_rate":
            parts.append(f"learning rate {value:g}")
        elif name == "epoch":
            parts.append(f"{value:g} {length_unit}")
        elif name == "preset":
            parts.append(f"preset {value}")
        else:
            parts.append(f"{name} {value}")
    return ", ".join(parts)
