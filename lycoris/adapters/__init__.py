"""Adapters: small trained updates on the layers of a frozen model, attached, scaled, merged, saved and converted."""

from __future__ import annotations

from lycoris.adapters.algorithms import ALGORITHMS, ALIASES, Adapter, Algorithm

__all__ = ["ALGORITHMS", "ALIASES", "Adapter", "Algorithm"]
