"""Values that the documents give of the published scores of arXiv 2309.14859, computed from its table."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pandas as pd

from flows.studies.evidence.figures import Value
from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.correlations import agreement_by_attribute, correlate, measure_pairs
from lycoris.analysis.statistics.effects import compute_effects, count_leads
from lycoris.analysis.statistics.expectations import Expectation, concept_differences
from lycoris.analysis.statistics.group_means import mean_over_groups
from lycoris.analysis.statistics.ranking import Ranking, rank_table
from lycoris.cache.atomic import atomic_write_text

SCORES, CONFIGURATIONS = "metrics_mean.csv", "config_mapping.csv"
EFFECTS = (
    *(("algorithm", *pair, measure) for pair in (("lokr", "loha"), ("lokr", "lora"), ("loha", "lora"))
      for measure in ("image_similarity/alter/all", "text_similarity/alter/all")),
    *(("learning_rate", "0.005", "0.0005", measure)
      for measure in ("fidelity/all/all", "controllability/all/all", "diversity/all/all")),
    *(("capacity", level, against, "controllability/all/all")
      for level, against in (("dim 16, alpha 8", "dim 4, alpha 2"), ("dim 32, alpha 16", "dim 8, alpha 4"))),
)  # fmt: skip
"""Factor, level, level that it is compared with, and measure of the effects that documents give."""


def published_values(folder: Path) -> dict[str, Value]:
    """Compute every value from the published table, in minutes.

    Args:
        folder: with the two files of the published table.
    """
    ranking = rank_table(read_table(folder / SCORES, folder / CONFIGURATIONS))
    effects = compute_effects(ranking)
    values = {**_effects(effects, "nine"), **_effects(_categories(folder), "five"), **_earlier(ranking)}
    leads = count_leads(effects)
    values |= {f"lead/{name}": Value(float(leads.loc[name, "led"])) for name in sorted(leads.index)}
    values |= {"measures": Value(float(leads["measures"].iloc[0]))}
    values["no-leader"] = Value(values["measures"].value - sum(leads["led"]))
    agreement = agreement_by_attribute(measure_pairs(correlate(ranking)))
    for name in ("resize_mode", "encoder", "prompt_type"):
        values[f"agreement/{name}"] = Value(float(agreement.loc[name, "correlation"]))
    values["agreement/resize_mode/lowest"] = Value(float(agreement.loc["resize_mode", "lowest"]))
    return values


def render_values(values: dict[str, Value]) -> str:
    """Return values as the content of a file for `flows.studies.evidence.figures.read_values`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("key", "value", "low", "high"))
    for key, one in values.items():
        writer.writerow(
            (key, *("" if number is None else f"{number:.6g}" for number in (one.value, one.low, one.high)))
        )
    return stream.getvalue()


def _key(factor: str, level: str, against: str, measure: str) -> str:
    return "/".join((factor, f"{level}-{against}".replace(" ", "").replace(",", ""), measure))


def _effects(table: pd.DataFrame, groups: str) -> dict[str, Value]:
    values = {}
    names = ("factor", "level", "against", "metric", "prompt_type", "encoder")
    rows = {tuple(str(getattr(row, name)) for name in names): row for row in table.itertuples()}
    for factor, level, against, measure in EFFECTS:
        metric, prompt_type, encoder = measure.split("/")
        row = (
            rows.get((factor, level, against, metric, prompt_type, encoder))
            or rows[(factor, level, against, metric, prompt_type, "")]
        )
        values[f"{groups}/{_key(factor, level, against, measure)}"] = Value(row.effect, row.low, row.high)
    return values


def _categories(folder: Path) -> pd.DataFrame:
    """The effects where the means of `anime` and `people` stand for their classes."""
    lines = (folder / SCORES).read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "/anime/" not in line and "/people/" not in line]
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "categories.csv"
        atomic_write_text(path, "\n".join(kept) + "\n")
        return compute_effects(rank_table(read_table(path, folder / CONFIGURATIONS)))


def _earlier(ranking: Ranking) -> dict[str, Value]:
    """Controllability by its earlier definition, with the text similarity of the trigger."""
    values = {}
    for factor, level, against, measure in EFFECTS:
        if measure.startswith("controllability/"):
            one = Expectation("controllability", "lower", factor, level, against)
            mean = mean_over_groups(concept_differences(ranking, one, ("text_similarity/trigger",)), minimum=-1.0)
            assert mean is not None
            values[f"earlier/{_key(factor, level, against, measure)}"] = Value(mean.mean, mean.low, mean.high)
    return values
