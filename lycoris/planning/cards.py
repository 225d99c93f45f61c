"""Cards: their memory, and the rates that their makers state."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lycoris.errors import InputError, unknown_name_error

GIB = 2**30
REACHED_SHARE = 0.35
"""Share of a card's rate that a training step is assumed to reach. Not measured here: between the 30 to 50 % that
publications report for training large transformers on such cards (Chowdhery et al. 2022, "PaLM", table 3, has 46 % on
TPUs and 21 to 33 % for earlier models on GPUs)."""


@dataclass(frozen=True)
class Card:
    """A graphics card.

    Attributes:
        name: as it is sold.
        memory: in bytes; makers' gigabytes of memory are 2^30 bytes.
        tflops: 10^12 FLOPs a second of dense products of bfloat16 with float32 sums, as the maker states them.
    """

    name: str
    memory: int
    tflops: float


CARDS = {
    card.name: card
    for card in (
        Card("rtx-3060", 12 * GIB, 51),
        Card("rtx-3090", 24 * GIB, 71),
        Card("rtx-4060-ti-16gb", 16 * GIB, 44),
        Card("rtx-4070", 12 * GIB, 58),
        Card("rtx-4090", 24 * GIB, 165),
        Card("rtx-5090", 32 * GIB, 210),
        Card("t4", 16 * GIB, 65),
        Card("l4", 24 * GIB, 121),
        Card("a100-40gb", 40 * GIB, 312),
        Card("a100-80gb", 80 * GIB, 312),
        Card("h100", 80 * GIB, 989),
        Card("h200", 141 * GIB, 989),
    )
}
"""Name -> card, from the makers' data sheets; a T4 has no bfloat16, its rate is that of float16."""


def parse_memory(text: str | float) -> int:
    """Read a size of memory: ``"12GB"``, ``"12"`` or the name of a card; gigabytes are 2^30 bytes, as cards are sold.

    Returns:
        Bytes.

    Raises:
        InputError: it is none of these, or not above 0.
    """
    if str(text) in CARDS:
        return CARDS[str(text)].memory
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:g|gb|gib)?\s*", str(text), flags=re.IGNORECASE)
    if match is None and re.search(r"[a-z]{3}|-", str(text), flags=re.IGNORECASE):
        raise unknown_name_error("card", str(text), CARDS)
    if match is None or float(match[1]) <= 0:
        raise InputError(f"Memory must be a number of gigabytes above 0, such as 12GB, but got {text!r}.")
    return round(float(match[1]) * GIB)
