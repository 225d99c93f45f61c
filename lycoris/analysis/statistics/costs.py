"""The costs of each adapter: training time, memory, file size and time per image, as the training set grows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lycoris.analysis.statistics.measures import COSTS


def mean_costs(scores_path: Path) -> pd.DataFrame:
    """The mean of every cost over concepts and seeds.

    Args:
        scores_path: a study's ``scores.csv`` with costs; of adapters with checkpoints only the last counts.

    Returns:
        ``config``, ``pictures`` where adapters differ in the number of training images, the number of ``adapters``, and
        a column for each of `lycoris.analysis.statistics.measures.COSTS` that was measured; empty without costs.
    """
    table = pd.read_csv(scores_path)
    own = table[table["name"].isin(COSTS)]
    if own.empty:
        return pd.DataFrame()
    length = "epoch" if "epoch" in own else "steps"
    if length in own:  # the cost of a whole training belongs to its last checkpoint
        own = own[own[length] == own.groupby("config")[length].transform("max")]
    keys = ["algorithm", "config", *(["pictures"] if "pictures" in own and own["pictures"].notna().any() else [])]
    wide = own.pivot_table(index=[*keys, "run_id"], columns="name", values="value", aggfunc="first", dropna=False)
    by_setting = wide.dropna(how="all").groupby(level=keys, sort=False, dropna=False)
    means = by_setting.mean().assign(adapters=by_setting.size())
    return means.reset_index()[[*keys, "adapters", *(name for name in COSTS if name in means)]]
