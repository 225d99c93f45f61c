"""Values as JSON that an HTML page can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")


def json_for_script(value: Any) -> str:
    """JSON that is safe inside an HTML ``<script>`` element: nothing in it can close the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def replace_nonfinite(value: Value) -> Value:
    """A copy of nested data with None for every number that is not finite, because JSON has no such numbers."""
    return _replaced(value)


def _replaced(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _replaced(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(entry) for entry in value]
    return value


def shorten(value: Any, digits: int = 5) -> Any:
    """A float rounded to some significant digits, more than the pages print; any other value as it is."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
