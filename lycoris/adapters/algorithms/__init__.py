"""The table of algorithms.

A new algorithm is one file here and one line in `ALGORITHMS`. Documentation, tests and reports derive from the class.
"""

from __future__ import annotations

import importlib

from lycoris.adapters.algorithms.adapter import Adapter, Algorithm


def _import_class(path: str) -> type[Algorithm]:
    module, name = path.split(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


ALGORITHMS: dict[str, type[Algorithm]] = {
    algorithm.algorithm: algorithm
    for algorithm in map(
        _import_class,
        (
            "lora.LoRA",
            "loha.LoHa",
            "lokr.LoKr",
            "full.Full",
            "norms.Norms",
            "ia3.IA3",
            "glora.GLoRA",
            "dylora.DyLoRA",
            "diag_oft.DiagOFT",
            "boft.BOFT",
            "tlora.TLoRA",
        ),
    )
}
"""Name → class, in the order in which files are matched and reports list them."""

ALIASES = {alias: name for name, algorithm in ALGORITHMS.items() for alias in algorithm.aliases}
"""Other names in use → name in `ALGORITHMS`."""

__all__ = ["ALGORITHMS", "ALIASES", "Adapter", "Algorithm"]
