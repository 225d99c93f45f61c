"""How each algorithm is trained when the user says nothing: one recipe a base and algorithm.

The pocket's were found by trying (`docs/pocket.md` says how); those of full-size bases are the defaults of
arXiv 2309.14859, table of hyperparameters, whatever the family: SDXL and SD 3 have no recipe of their own.
"""

from __future__ import annotations

from typing import Any

# Learning rate, rank, alpha, factor.
_NETWORK_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "pocket": {
        "lora": {"rank": 8, "alpha": 8.0, "learning_rate": 5e-3},
        "loha": {"rank": 4, "alpha": 4.0, "learning_rate": 5e-3},
        "lokr": {"factor": 8, "learning_rate": 7e-3},
        "full": {"learning_rate": 1e-3},
    },
    "paper": {
        "lora": {"rank": 8, "alpha": 4.0, "learning_rate": 5e-4},
        "loha": {"rank": 4, "alpha": 2.0, "learning_rate": 5e-4},
        "lokr": {"factor": 8, "learning_rate": 5e-4},
        "full": {"learning_rate": 1e-6},
    },
}
_OTHER_ALGORITHMS: dict[str, Any] = {"learning_rate": 5e-4}
_TRAINING_DEFAULTS: dict[str, dict[str, Any]] = {
    "pocket": {
        "steps": 120,
        "batch_size": 6,
        "schedule": "cosine",
        "warmup_steps": 10,
        "caption_dropout": 0.05,
        "min_snr": 5.0,
    },
    "paper": {"epochs": 50, "batch_size": 8, "warmup_steps": 100, "caption_dropout": 0.05},
}
_DEFAULT_PRESET = {"pocket": "full", "paper": "attn-mlp"}
_SAMPLING_DEFAULTS: dict[str, dict[str, Any]] = {
    "pocket": {"scheduler": "dpm++-2m", "steps": 14},
    "paper": {"scheduler": None, "steps": 25},
}

_CO_TRAIN = {"pocket": 4, "paper": 1}


def default_settings(base: str, algorithm: str) -> dict[str, dict[str, Any]]:
    """The default settings of an algorithm on a base.

    Returns:
        ``{"network": {"preset", "rank", "alpha", "factor"}, "training": {...}}``; what an algorithm has no use
        for is absent.
    """
    kind = _defaults_name(base)
    network = {"preset": _DEFAULT_PRESET[kind], **_NETWORK_DEFAULTS[kind].get(algorithm, _OTHER_ALGORITHMS)}
    rate = network.pop("learning_rate")
    return {"network": network, "training": {**_TRAINING_DEFAULTS[kind], "learning_rate": rate}}


def default_sampling(base: str) -> dict[str, Any]:
    """The default ``{"scheduler", "steps"}`` that pictures of a base are drawn with; None is the family's own."""
    return dict(_SAMPLING_DEFAULTS[_defaults_name(base)])


def default_co_train(base: str) -> int:
    """How many adapters are trained at once where nothing is said: where one's batch leaves the base work to do."""
    return _CO_TRAIN[_defaults_name(base)]


def _defaults_name(base: str) -> str:
    return base if base in _TRAINING_DEFAULTS else "paper"
