"""Numbers, durations and names as the pages and the command line print them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any


@functools.cache
def algorithm_titles() -> dict[str, str]:
    """Name -> title as its paper writes it, in the order of `lycoris.adapters.ALGORITHMS`."""
    from lycoris.adapters import ALGORITHMS

    return {name: algorithm.title for name, algorithm in ALGORITHMS.items()}


def decimal_places(values: Iterable[float | None]) -> int | None:
    """How many decimals show three significant digits of the largest of some values; None below 1e-5."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    if largest == 0.0:
        return 2
    digits = max(0, 2 - math.floor(math.log10(largest)))
    return digits if digits <= 6 else None


def format_number(value: float | None, digits: int | None, *, signed: bool = False) -> str:
    """A number without a leading zero and with a true minus sign; a dash for None.

    Args:
        value: the number.
        digits: decimals; None for scientific notation with one decimal.
        signed: whether a positive number gets a plus sign.
    """
    if value is None:
        return "–"
    text = f"{abs(value):.1e}" if digits is None else f"{abs(value):.{digits}f}"
    if value == 0.0:
        return "0"
    sign = "" if float(text) == 0.0 else "−" if value < 0 else "+" if signed else ""
    return sign + (text.removeprefix("0") if text.startswith("0.") else text)


def format_interval(low: float | None, high: float | None, digits: int | None) -> str:
    """``[low, high]``; empty when an end is None."""
    if low is None or high is None:
        return ""
    return f"[{format_number(low, digits)}, {format_number(high, digits)}]"


def format_duration(seconds: float) -> str:
    """A duration such as ``1 h 5 min 3 s``, to the second."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"


def format_moment(text: object) -> str:
    """A time such as ``2026-11-30T16:00:19+00:00`` as ``30 November 2026, 16:00 UTC``; any other text as it is."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return str(text)
    date = f"{moment.day} {moment:%B %Y}"
    return date if len(str(text)) == len("2026-11-30") else f"{date}, {moment:%H:%M} {moment.tzname() or ''}".rstrip()


def order_key(order: Iterable[str], name: str) -> tuple[int, str]:
    """A sorting key that follows a list of names; names that are not in it come last, in alphabetical order."""
    names = list(order)
    return (names.index(name) if name in names else len(names), name)


def algorithm_title(algorithm: str) -> str:
    """The name of an algorithm as its paper writes it."""
    return algorithm_titles().get(algorithm, algorithm)


def titled_algorithms(algorithms: Iterable[str]) -> list[tuple[str, str]]:
    """(Name, title) of every algorithm once, in the order of reports."""
    names = sorted(set(algorithms), key=lambda name: order_key(algorithm_titles(), name))
    return [(name, algorithm_title(name)) for name in names]


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``1 concept``, ``2 concepts``."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def join_names(names: Iterable[str]) -> str:
    """Names as a sentence lists them: ``a``, ``a and b``, ``a, b and c``."""
    listed = list(names)
    return (", ".join(listed[:-1]) + " and " if listed[1:] else "") + (listed[-1] if listed else "")


def adapter_label(adapter: Mapping[str, Any], *, with_seed: bool, with_captions: bool = True) -> str:
    """The name of an adapter within its concept: algorithm, captions and seed if asked for, checkpoint if it has one.

    A record with a ``label``, such as that of a file made elsewhere, has that name.
    """
    if adapter.get("label"):
        return str(adapter["label"])
    text = algorithm_title(str(adapter.get("algorithm", "?")))
    if with_captions and adapter.get("captions"):
        text += f" with captions `{adapter['captions']}`"
    if with_seed:
        text += f", seed {adapter.get('seed')}"
    return f"{text}, {adapter['checkpoint']}" if adapter.get("checkpoint") else text
