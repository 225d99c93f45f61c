"""Samplers: they choose the settings to try where there are more settings than trainings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lycoris.analysis.decisions.adaptive_search import INITIAL_SETTINGS, Sampler, suggest_setting
from lycoris.analysis.statistics.gaussian_process import CATEGORICAL_ATTRIBUTES, NUMERIC_ATTRIBUTES
from lycoris.errors import InputError, unknown_name_error

SAMPLERS = ("posterior", "random", "tpe", "nsga2")
"""``posterior`` is `lycoris.analysis.decisions.adaptive_search.suggest_setting`; ``tpe`` and ``nsga2`` are Optuna's.
Optuna's Gaussian process is left out: it takes tens of seconds per setting in five dimensions."""
OPTUNA_REQUIRED = "Samplers of Optuna need the extra `adaptive`: pip install 'lycoris-pipeline[adaptive]'."
MAX_PROPOSALS = 10
"""How often a sampler may propose a setting that is not in the grid or already tried, before the nearest is taken."""


def get_sampler(name: str) -> Sampler:
    """The sampler of a name in `SAMPLERS`.

    Raises:
        InputError: The name is unknown, or Optuna is not installed.
    """
    if name not in SAMPLERS:
        raise unknown_name_error("sampler", name, SAMPLERS)
    if name == "posterior":
        return suggest_setting
    if name == "random":
        return _suggest_at_random
    try:
        import optuna
    except ImportError as error:
        raise InputError(OPTUNA_REQUIRED) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return _suggest_with_optuna(name)


def _suggest_at_random(settings: pd.DataFrame, points: Mapping[str, np.ndarray], rng: np.random.Generator) -> int:
    return int(rng.choice(np.flatnonzero(~settings["config"].astype(str).isin(list(points)))))


def _optuna_sampler(name: str, seed: int) -> Any:
    import optuna

    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=INITIAL_SETTINGS)
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=INITIAL_SETTINGS)


def _suggest_with_optuna(name: str) -> Sampler:
    """A sampler of Optuna. It gets all points anew each time, since ranks change with every training."""

    def choose(settings: pd.DataFrame, points: Mapping[str, np.ndarray], rng: np.random.Generator) -> int:
        import optuna

        names = [
            one
            for one in (*CATEGORICAL_ATTRIBUTES, *NUMERIC_ATTRIBUTES)
            if one in settings and settings[one].astype(str).nunique() > 1
        ]
        values = settings[names].astype(str)
        space: dict[str, optuna.distributions.BaseDistribution] = {
            one: optuna.distributions.CategoricalDistribution(sorted(set(values[one]))) for one in names
        }
        configs = list(settings["config"].astype(str))
        dimensions = len(next(iter(points.values()))[0]) if points else 1
        study = optuna.create_study(
            directions=["maximize"] * dimensions, sampler=_optuna_sampler(name, int(rng.integers(2**31)))
        )
        for config, own in points.items():
            params = values.iloc[configs.index(config)].to_dict()
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=space, values=[float(one) for one in own[-1]])
            )
        untried = np.flatnonzero(~np.isin(configs, list(points)))
        for _ in range(MAX_PROPOSALS):
            proposed = pd.Series(study.ask(space).params)[names]
            agreement = (values.iloc[untried] == proposed).sum(axis=1).to_numpy()
            if agreement.max() == len(names):
                break
        return int(untried[(agreement + 0.1 * rng.random(len(untried))).argmax()])

    return choose
