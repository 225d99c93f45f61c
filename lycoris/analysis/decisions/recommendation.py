"""The adapter setting to recommend, by a rule that can be checked by hand, and how certain the choice is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from lycoris.analysis.decisions.pareto import pareto_mask
from lycoris.analysis.statistics.ranking import Ranking
from lycoris.analysis.statistics.setting_scores import (
    MeanWithInterval,
    SettingScores,
    front_probabilities,
    mean_with_interval,
    score_settings,
    validate_weights,
)
from lycoris.analysis.text.setting_labels import label_settings
from lycoris.errors import InputError

RECOMMENDATION_RULE = (
    "Among the settings that fit the requested size and, where the table has the data, beat the base in image "
    "similarity on trigger prompts outside the interval in every encoder in at least half of their trainings (all, if "
    "none does): of those that were scored on at least half as many concepts as any, the one with the highest weighted "
    "mean over the dimensions of its scaled rank; of two equal ones, the smaller file."
)
LEARNED_RATE = 0.5
"""A setting has learned if this fraction of its trainings beats the base in fidelity."""
LIKELY_FRONT_CHANCE = 0.25
"""From this probability on a setting counts as likely to be on the front."""


@dataclass(frozen=True)
class RankedSetting:
    """One setting and its scores.

    Attributes:
        name: in words, with what distinguishes it from the other settings.
        config: its name in the table.
        settings: name -> value, as far as the table has them.
        rank: its weighted mean scaled rank.
        ranks: dimension -> mean scaled rank.
        units: on how many concepts (or seeds) it was scored.
        well_known: whether that is at least half as many as for any eligible setting.
        bytes: the size of its file; None where unknown.
        learned: the fraction of its trainings that beat the base in fidelity; None where unknown.
        front: whether no other eligible setting is as good in every dimension and better in one.
        chance: the probability of that (`front_probabilities`); 0 for settings that are not eligible.
        left_out: why it is not eligible; empty where it is.
    """

    name: str
    config: str
    settings: Mapping[str, Any]
    rank: MeanWithInterval
    ranks: Mapping[str, MeanWithInterval]
    units: int
    well_known: bool
    bytes: int | None
    learned: float | None
    front: bool
    chance: float
    left_out: str = ""


@dataclass(frozen=True)
class Recommendation:
    """The recommendation of a table.

    Attributes:
        options: every setting, the best first, those that are not eligible at the end.
        runner_up: the next best eligible setting, or None.
        difference: choice minus runner-up in weighted mean scaled rank; None without a runner-up.
        differences: the same for each dimension.
        missing: dimensions that no setting has a score in.
        weights: of every dimension that has scores.
        unit: what intervals are over: ``"concept"`` or ``"seed"``.
        notes: which settings were left out, and why.
    """

    options: list[RankedSetting]
    runner_up: RankedSetting | None
    difference: MeanWithInterval | None
    differences: Mapping[str, MeanWithInterval]
    missing: tuple[str, ...]
    weights: Mapping[str, float]
    unit: str
    notes: list[str] = field(default_factory=list)

    @property
    def choice(self) -> RankedSetting:
        """The recommended setting."""
        return self.options[0]

    @property
    def has_learned(self) -> bool:
        """Whether some setting beats the base in fidelity in half of its trainings, or that is not known."""
        rates = [one.learned for one in self.options if one.learned is not None]
        return not rates or max(rates) >= LEARNED_RATE

    @property
    def eligible(self) -> list[RankedSetting]:
        """The settings to choose from, the best first."""
        return [one for one in self.options if not one.left_out]

    @property
    def front(self) -> list[RankedSetting]:
        """The settings that no other eligible one dominates, the best first."""
        return [one for one in self.options if one.front]

    @property
    def likely_front(self) -> list[RankedSetting]:
        """The settings with a probability of at least `LIKELY_FRONT_CHANCE` to be on the front, the best first."""
        return [one for one in self.eligible if one.chance >= LIKELY_FRONT_CHANCE]

    @property
    def is_separated(self) -> bool | None:
        """Whether choice and runner-up differ outside the interval; None where there is no interval."""
        if self.difference is None or self.difference["low"] is None or self.difference["high"] is None:
            return None
        return self.difference["low"] > 0 or self.difference["high"] < 0


def recommend(
    ranking: Ranking,
    *,
    weights: Mapping[str, float] | None = None,
    file_sizes: Mapping[str, int] | None = None,
    max_file_size: int | None = None,
    win_rates: Mapping[str, float] | None = None,
    length_unit: str = "epochs",
) -> Recommendation:
    """The recommended setting, by `RECOMMENDATION_RULE`, over the concepts and seeds of a table.

    Args:
        ranking: of the table.
        weights: dimension -> weight, at least 0; 1 where absent.
        file_sizes: configuration -> bytes of its largest file.
        max_file_size: the most bytes of a file.
        win_rates: configuration -> fraction of its trainings that beat the base.
        length_unit: the unit of the table's ``epoch``: ``"epochs"`` or ``"steps"``.

    Raises:
        InputError: A weight is invalid, no dimension with a weight has a score, or no setting is small enough.
    """
    complete = validate_weights(weights or {})
    scores = score_settings(ranking)
    if not any(complete[name] for name in scores.dimensions):
        raise InputError(
            "Argument `weights` must have a dimension with a score above 0, but this table has scores in "
            f"{', '.join(scores.dimensions) or 'no dimension'}."
        )
    file_sizes, win_rates = file_sizes or {}, win_rates or {}
    reasons = _exclusion_reasons(scores, file_sizes, max_file_size, win_rates)
    eligible = np.array([not reason for reason in reasons])
    units = scores.weighted_means(complete)
    options = _ranked_settings(scores, units, reasons, file_sizes, win_rates, length_unit)
    order = sorted(range(len(options)), key=lambda index: _sort_key(options[index]))
    candidates = [index for index in order if eligible[index] and options[index].well_known]
    best, second = candidates[0], candidates[1] if len(candidates) > 1 else None
    return Recommendation(
        options=[options[index] for index in order],
        runner_up=None if second is None else options[second],
        difference=None if second is None else mean_with_interval(units[best] - units[second], minimum=-1.0),
        differences=_dimension_differences(scores, best, second),
        missing=scores.missing,
        weights={name: complete[name] for name in scores.dimensions},
        unit=scores.unit,
        notes=_notes(reasons, win_rates, int(eligible.sum()) - len(candidates), scores.unit),
    )


def _ranked_settings(
    scores: SettingScores,
    units: Float[np.ndarray, "settings units"],
    reasons: list[str],
    file_sizes: Mapping[str, int],
    win_rates: Mapping[str, float],
    length_unit: str,
) -> list[RankedSetting]:
    """Every setting with its scores, in the order of the table."""
    eligible = np.array([not reason for reason in reasons])
    front, chances = _front(scores, eligible)
    names, counts = label_settings(scores.settings, length_unit), scores.counts
    most_units = max(count for count, fits in zip(counts, eligible, strict=True) if fits)
    return [
        RankedSetting(
            name=names[index],
            config=config,
            settings=_reported_settings(scores.settings.iloc[index].to_dict()),
            rank=mean_with_interval(units[index]),
            ranks={
                name: mean_with_interval(scores.values[index, :, column])
                for column, name in enumerate(scores.dimensions)
            },
            units=counts[index],
            well_known=bool(2 * counts[index] >= most_units),
            bytes=file_sizes.get(config),
            learned=win_rates.get(config),
            front=bool(front[index]),
            chance=float(chances[index]),
            left_out=reasons[index],
        )
        for index, config in enumerate(scores.configs)
    ]


def _front(scores: SettingScores, eligible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which settings are on the front of the eligible ones, and with what probability."""
    front, chances = np.zeros(len(eligible), dtype=bool), np.zeros(len(eligible))
    front[eligible] = pareto_mask(scores.points[eligible])
    own = replace(scores, values=scores.values[eligible])
    chances[eligible] = front_probabilities(own, np.random.default_rng(0))
    return front, chances


def _dimension_differences(scores: SettingScores, best: int, second: int | None) -> dict[str, MeanWithInterval]:
    if second is None:
        return {}
    differences = scores.values[best] - scores.values[second]
    return {
        name: mean_with_interval(differences[:, column], minimum=-1.0) for column, name in enumerate(scores.dimensions)
    }


def _sort_key(setting: RankedSetting) -> tuple[Any, ...]:
    """Eligible settings first, those scored on enough units first, then by rank, front, file size and name."""
    mean = setting.rank["mean"]
    return (
        bool(setting.left_out),
        not setting.well_known,
        -round(mean if mean is not None else -1.0, 9),
        not setting.front,
        math.inf if setting.bytes is None else setting.bytes,
        setting.name,
    )


def _exclusion_reasons(
    scores: SettingScores, file_sizes: Mapping[str, int], max_file_size: int | None, win_rates: Mapping[str, float]
) -> list[str]:
    """For each setting why it is not eligible, or an empty string."""
    configs = scores.configs
    if max_file_size is not None and not any(name in file_sizes for name in configs):
        raise InputError("Option `--max-size` needs the sizes of the files: a study's folder with `study.json`.")
    unscored = np.isnan(scores.points).any(axis=1)
    reasons = []
    for index, config in enumerate(configs):
        reason = ""
        if unscored[index]:
            reason = "not scored in every dimension"
        elif max_file_size is not None and file_sizes.get(config, math.inf) > max_file_size:
            reason = "file too large" if config in file_sizes else "file size unknown"
        reasons.append(reason)
    if all(reasons):
        smallest = min((file_sizes[name] for name in configs if name in file_sizes), default=None)
        hint = "" if max_file_size is None or smallest is None else f" The smallest file has {smallest} bytes."
        raise InputError(f"No setting is eligible ({'; '.join(sorted(set(reasons)))}).{hint}")
    learned = [win_rates.get(config, 1.0) >= LEARNED_RATE for config in configs]
    winners = {index for index, why in enumerate(reasons) if not why and learned[index]}
    if not winners:
        return reasons
    return [
        reason or ("" if index in winners else "does not beat the base in fidelity")
        for index, reason in enumerate(reasons)
    ]


def _notes(reasons: list[str], win_rates: Mapping[str, float] | None, rarely_scored: int, unit: str) -> list[str]:
    counts = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons) if reason}
    notes = [f"left out: {count} {'setting' if count == 1 else 'settings'} ({why})" for why, count in counts.items()]
    if rarely_scored:
        notes.append(f"not eligible: {rarely_scored} scored on less than half as many {unit}s as the best known")
    if win_rates and max(win_rates.values()) < LEARNED_RATE:
        notes.append("no setting beats the base in fidelity, outside its interval and by enough to matter")
    return notes


def _reported_settings(setting: Mapping[str, Any]) -> dict[str, Any]:
    names = (
        *("base", "strength", "algorithm", "preset", "captions", "times"),
        *("dim", "alpha", "factor", "learning_rate", "epoch"),
    )
    values = {name: setting.get(name) for name in names}
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
    return {
        name: value
        for name, value in plain.items()
        if value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))
    }
