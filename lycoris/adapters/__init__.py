"""The algorithms by name. A new one is one file and one line here; every test runs over the table."""

from __future__ import annotations

from lycoris.adapters.algorithms.adapter import Adapter
from lycoris.adapters.algorithms.boft import BOFT
from lycoris.adapters.algorithms.diag_oft import DiagOFT
from lycoris.adapters.algorithms.dylora import DyLoRA
from lycoris.adapters.algorithms.full import Full
from lycoris.adapters.algorithms.glora import GLoRA
from lycoris.adapters.algorithms.ia3 import IA3
from lycoris.adapters.algorithms.loha import LoHa
from lycoris.adapters.algorithms.lokr import LoKr
from lycoris.adapters.algorithms.lora import LoRA
from lycoris.adapters.algorithms.norms import Norms
from lycoris.adapters.algorithms.tlora import TLoRA

ALGORITHMS: dict[str, type[Adapter]] = {
    "lora": LoRA,
    "loha": LoHa,
    "lokr": LoKr,
    "full": Full,
    "norms": Norms,
    "ia3": IA3,
    "glora": GLoRA,
    "dylora": DyLoRA,
    "diag-oft": DiagOFT,
    "boft": BOFT,
    "t-lora": TLoRA,
}

ALIASES = {"native": "full", "locon": "lora", "diag_oft": "diag-oft", "oft": "diag-oft", "tlora": "t-lora"}
"""Other names in use for the same algorithms."""

__all__ = ["ALGORITHMS", "ALIASES", "Adapter"]
