"""Who chooses the settings to try where there are more of them than trainings: by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lycoris.analysis.decisions.adaptive_search import INITIAL_SETTINGS, Sampler, suggest_setting
from lycoris.analysis.statistics.gaussian_process import CATEGORICAL_ATTRIBUTES, NUMERIC_ATTRIBUTES
from lycoris.errors import InputError, unknown_name_error

SAMPLERS = ("posterior", "random", "tpe", "nsga2")
"""``posterior`` is `lycoris.analysis.decisions.adaptive_search.explore`; ``tpe`` and ``nsga2`` are Optuna's
samplers. Its Gaussian
process takes tens of seconds a setting in five dimensions."""
OPTUNA_REQUIRED = "Samplers of Optuna need the extra `adaptive`: pip install 'lycoris-pipeline[adaptive]'."
MAX_PROPOSALS = 10
"""How often a sampler may propose what is no setting of the grid, or tried, before the nearest one is taken."""


def get_sampler(name: str) -> Sampler:
    """An explorer by its name in `EXPLORERS`.

    Raises:
        InputError: there is none of this name, or Optuna is not installed.
    """
    if name not in SAMPLERS:
        raise unknown_name_error("explorer", name, SAMPLERS)
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
    """An explorer that asks a sampler of Optuna, told all points anew, since ranks change with every training."""

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
        left = np.flatnonzero(~np.isin(configs, list(points)))
        for _ in range(MAX_PROPOSALS):
            wanted = pd.Series(study.ask(space).params)[names]
            agree = (values.iloc[left] == wanted).sum(axis=1).to_numpy()
            if agree.max() == len(names):
                break
        return int(left[(agree + 0.1 * rng.random(len(left))).argmax()])

    return choose
