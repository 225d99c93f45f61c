"""Which adapter setting to take, by a rule that is stated and can be checked by hand, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lycoris.analysis.decisions.pareto import pareto_mask
from lycoris.analysis.statistics.ranking import Ranking
from lycoris.analysis.statistics.setting_scores import (
    SettingScores,
    front_probabilities,
    mean_with_interval,
    score_settings,
)
from lycoris.analysis.text.setting_labels import label_settings
from lycoris.errors import InputError, unknown_name_error
from lycoris.terms import DIMENSIONS

RECOMMENDATION_RULE = (
    "Among the settings that fit the size asked for and, where the table tells it, beat the base in image similarity "
    "on trigger prompts outside the interval in every encoder in at least half of their trainings (all, if none "
    "does): of those that were scored on at least half as many concepts as any, the one with the highest weighted mean "
    "over the dimensions of its scaled rank; of two alike, the smaller file."
)
LIKELY_FRONT_CHANCE = 0.25
"""From this chance on a setting counts as one that may well be on the front."""


@dataclass(frozen=True)
class RankedSetting:
    """One setting as it stands.

    Attributes:
        name: in words, with what tells it from the other settings.
        config: its name in the table.
        settings: name -> value, of what the table tells.
        rank: its weighted mean scaled rank, ``{"mean", "low", "high"}``.
        ranks: the same for each dimension.
        units: on how many concepts (or seeds) it was scored.
        well_known: whether that is at least half as many as any setting of the field.
        bytes: of its file; None where not known.
        learned: in which part of its trainings it beat the base in fidelity; None where not known.
        front: whether no other setting of the field is as good in every dimension and better in one.
        chance: how likely that is, if the errors of means are normal
        (`lycoris.analysis.statistics.setting_scores.front_chances`); 0 for
            those left out.
        left_out: why it is not in the field; empty where it is.
    """

    name: str
    config: str
    settings: Mapping[str, Any]
    rank: Mapping[str, float | None]
    ranks: Mapping[str, Mapping[str, float | None]]
    units: int
    well_known: bool
    bytes: int | None
    learned: float | None
    front: bool
    chance: float
    left_out: str = ""


@dataclass(frozen=True)
class Recommendation:
    """The answer of a table.

    Attributes:
        options: every setting, the best first, those left out at the end.
        runner_up: the next best of the field, or None.
        difference: choice less runner-up, ``{"mean", "low", "high"}``; empty without a runner-up.
        differences: the same for each dimension.
        missing: dimensions that no setting has a score in.
        weights: of every dimension that has scores.
        unit: ``"concept"`` or ``"seed"``: what intervals are over.
    """

    options: list[RankedSetting]
    runner_up: RankedSetting | None
    difference: Mapping[str, float | None]
    differences: Mapping[str, Mapping[str, float | None]]
    missing: tuple[str, ...]
    weights: Mapping[str, float]
    unit: str
    notes: list[str] = field(default_factory=list)

    @property
    def choice(self) -> RankedSetting:
        """The setting to take."""
        return self.options[0]

    @property
    def front(self) -> list[RankedSetting]:
        """The settings that no other one of the field dominates, the best first."""
        return [one for one in self.options if one.front]

    @property
    def likely_front(self) -> list[RankedSetting]:
        """The settings with a chance of at least `LIKELY` to be on the front, the best first."""
        return [one for one in self.options if not one.left_out and one.chance >= LIKELY_FRONT_CHANCE]

    @property
    def is_separated(self) -> bool | None:
        """Whether choice and runner-up differ outside the interval; None where there is no interval."""
        low, high = self.difference.get("low"), self.difference.get("high")
        return None if low is None or high is None else low > 0 or high < 0


def validate_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """A weight for each of the five dimensions; 1 where none is given.

    Raises:
        InputError: a dimension is unknown, a weight is negative or no number, or all are 0.
    """
    for name, weight in weights.items():
        if name not in DIMENSIONS:
            raise unknown_name_error("dimension", name, DIMENSIONS)
        if not (math.isfinite(weight) and weight >= 0):
            raise InputError(f"Argument `weights` must be at least 0, but got {weight} for `{name}`.")
    full: dict[str, float] = {name: float(weights.get(name, 1.0)) for name in DIMENSIONS}
    if not any(full.values()):
        raise InputError("Argument `weights` must leave some dimension above 0, but all are 0.")
    return full


def recommend(
    ranking: Ranking,
    *,
    weights: Mapping[str, float] | None = None,
    file_sizes: Mapping[str, int] | None = None,
    max_file_size: int | None = None,
    win_rates: Mapping[str, float] | None = None,
    length_unit: str = "epochs",
) -> Recommendation:
    """The setting to take, by `RECOMMENDATION_RULE`, over the concepts and seeds of a table.

    Args:
        ranking: of the table.
        weights: dimension -> how much it counts, at least 0; 1 where absent.
        sizes: configuration -> bytes of its largest file.
        max_size: bytes a file may have.
        learned: configuration -> in which part of its trainings it beat the base.
        length_unit: what the table's ``epoch`` counts: ``"epochs"`` or ``"steps"``.

    Raises:
        InputError: a weight is wrong, no dimension that counts has a score, or no setting fits the size.
    """
    full = validate_weights(weights or {})
    standing = score_settings(ranking)
    if not any(full[name] for name in standing.dimensions):
        raise InputError(
            "Argument `weights` counts only dimensions without a score; this table has "
            f"{', '.join(standing.dimensions) or 'none of the five'}."
        )
    reasons = _exclusion_reasons(standing, file_sizes or {}, max_file_size, win_rates or {})
    inside = np.array([not reason for reason in reasons])
    points = standing.points
    front = np.zeros(len(points), dtype=bool)
    front[inside] = pareto_mask(points[inside])
    chances = np.zeros(len(points))
    chances[inside] = front_probabilities(replace(standing, values=standing.values[inside]), np.random.default_rng(0))

    units = standing.weighted_means(full)
    counts = standing.counts
    most = max(count for count, fits in zip(counts, inside, strict=True) if fits)
    names = label_settings(standing.settings, length_unit)
    options = [
        RankedSetting(
            name=names[arm],
            config=str(standing.settings["config"].iloc[arm]),
            settings=_reported_settings(standing.settings.iloc[arm].to_dict()),
            rank=mean_with_interval(units[arm]),
            ranks={
                name: mean_with_interval(standing.values[arm, :, place])
                for place, name in enumerate(standing.dimensions)
            },
            units=counts[arm],
            well_known=bool(2 * counts[arm] >= most),
            bytes=(file_sizes or {}).get(str(standing.settings["config"].iloc[arm])),
            learned=(win_rates or {}).get(str(standing.settings["config"].iloc[arm])),
            front=bool(front[arm]),
            chance=float(chances[arm]),
            left_out=reasons[arm],
        )
        for arm in range(len(points))
    ]
    order = sorted(range(len(options)), key=lambda arm: _sort_key(options[arm]))
    known = [arm for arm in order if inside[arm] and options[arm].well_known]
    best, second = known[0], known[1] if len(known) > 1 else None
    gap = None if second is None else mean_with_interval(units[best] - units[second], minimum=-1.0)
    gaps = {
        name: mean_with_interval(standing.values[best, :, place] - standing.values[second, :, place], minimum=-1.0)
        for place, name in enumerate(standing.dimensions)
        if second is not None
    }
    return Recommendation(
        options=[options[arm] for arm in order],
        runner_up=None if second is None else options[second],
        difference=gap or {},
        differences=gaps,
        missing=standing.missing,
        weights={name: full[name] for name in standing.dimensions},
        unit=standing.unit,
        notes=_notes(reasons, win_rates, int(inside.sum()) - len(known), standing.unit),
    )


def _sort_key(option: RankedSetting) -> tuple[Any, ...]:
    """Those of the field first, the well known first, then by rank, front, file and name."""
    mean = option.rank["mean"]
    return (
        bool(option.left_out),
        not option.well_known,
        -round(mean if mean is not None else -1.0, 9),
        not option.front,
        math.inf if option.bytes is None else option.bytes,
        option.name,
    )


def _exclusion_reasons(
    standing: SettingScores, file_sizes: Mapping[str, int], max_file_size: int | None, win_rates: Mapping[str, float]
) -> list[str]:
    """For each setting why it is not in the field, or nothing."""
    configs = [str(name) for name in standing.settings["config"]]
    if max_file_size is not None and not any(name in file_sizes for name in configs):
        raise InputError("Option `--max-size` needs the sizes of the files: a study's folder with `study.json`.")
    reasons = []
    for place, config in enumerate(configs):
        reason = ""
        if np.isnan(standing.points[place]).any():
            reason = "not scored in every dimension"
        elif max_file_size is not None and file_sizes.get(config, math.inf) > max_file_size:
            reason = "file too large" if config in file_sizes else "size of its file not known"
        reasons.append(reason)
    if all(reasons):
        smallest = min((file_sizes[name] for name in configs if name in file_sizes), default=None)
        hint = "" if max_file_size is None or smallest is None else f" The smallest file has {smallest} bytes."
        raise InputError(f"No setting is left to choose from ({'; '.join(sorted(set(reasons)))}).{hint}")
    fit = [place for place, reason in enumerate(reasons) if not reason]
    better = {place for place in fit if win_rates.get(configs[place], 1.0) >= 0.5}
    if better:
        reasons = [
            reason or ("" if place in better else "does not beat the base in fidelity")
            for place, reason in enumerate(reasons)
        ]
    return reasons


def _notes(reasons: list[str], win_rates: Mapping[str, float] | None, rarely_scored: int, unit: str) -> list[str]:
    counted = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons) if reason}
    notes = [f"left out: {count} {'setting' if count == 1 else 'settings'} ({why})" for why, count in counted.items()]
    if rarely_scored:
        notes.append(f"not chosen from: {rarely_scored} scored on less than half as many {unit}s as the best known")
    if win_rates and max(win_rates.values()) < 0.5:
        notes.append("no setting beats the base in fidelity outside its interval")
    return notes


def _reported_settings(arm: Mapping[str, Any]) -> dict[str, Any]:
    names = ("base", "strength", "algorithm", "preset", "captions", "dim", "alpha", "factor", "learning_rate", "epoch")
    found = {name: arm.get(name) for name in names}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in found.items()}
    return {
        name: value
        for name, value in plain.items()
        if value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))
    }
