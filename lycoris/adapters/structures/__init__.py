"""Structured weight updates: ΔW as a definition, and as cheaper ways to apply it.

Every algorithm forms one of these structures. Shapes follow the layer: a Linear weight is [out, in], a convolution's
[out, in / groups, *kernel]. A new structure is a new file here.
"""

from __future__ import annotations

from lycoris.adapters.structures.base import ELEMENT_COST, Structure, full_precision, is_unit_scale
from lycoris.adapters.structures.dense import Dense
from lycoris.adapters.structures.hadamard import Hadamard
from lycoris.adapters.structures.kronecker import Kronecker
from lycoris.adapters.structures.low_rank import LowRank
from lycoris.adapters.structures.operation import Operation
from lycoris.adapters.structures.tucker import Tucker

__all__ = [
    "ELEMENT_COST",
    "Dense",
    "Hadamard",
    "Kronecker",
    "LowRank",
    "Operation",
    "Structure",
    "Tucker",
    "full_precision",
    "is_unit_scale",
]
