"""Sizes of memory as text."""

from __future__ import annotations

from lycoris.planning.cards import GIB


def gigabytes(size: float) -> str:
    """A size as ``"11.2 GB"``, of 2^30 bytes as cards are sold; small ones in MB of 2^20."""
    return f"{size / GIB:.1f} GB" if size >= GIB / 2 else f"{size / 2**20:.3g} MB"
