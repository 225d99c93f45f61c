"""The keys of another trainer's file: each one is carried over, or reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lycoris.errors import InputError


class Keys:
    """The keys of a configuration, or of a group in it; those that are not taken are left over.

    Args:
        values: the keys and values.
        label: where they are, for messages: ``"network."``.
    """

    def __init__(self, values: Mapping[str, Any], label: str = "") -> None:
        self.label = label
        self._values = dict(values)
        self._groups: list[Keys] = []
        self._reasons: dict[str, str] = {}
        self._superseded: dict[str, str] = {}
        self._to_decide: set[str] = set()

    def take(self, *names: str, default: Any = None) -> Any:
        """Return the value of the first of some keys that is present and not null; the others are left over."""
        for name in names:
            if self._values.get(name) is not None:
                self._superseded |= {other: f"`{name}` takes precedence" for other in names if other != name}
                return self._values.pop(name)
        return default

    def number(self, *names: str, default: float | None = None) -> Any:
        """Return a number, which may be written as text.

        Raises:
            InputError: the value is something else.
        """
        value = self.take(*names, default=default)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise InputError(f"Key `{self.label}{names[0]}` must be a number, but got `{value!r}`.") from None
        return (
            int(number) if number.is_integer() and "." not in str(value) and "e" not in str(value).lower() else number
        )

    def group(self, name: str) -> Keys:
        """Return the keys of a group; an absent group has none.

        Raises:
            InputError: the value is no group.
        """
        values = self._values.pop(name, None) or {}
        if not isinstance(values, Mapping):
            raise InputError(f"Key `{self.label}{name}` must be a group of keys, but got `{values!r}`.")
        self._groups.append(Keys(values, f"{self.label}{name}."))
        return self._groups[-1]

    def groups(self, name: str) -> list[Keys]:
        """Return the keys of each group in a list; an absent list has none.

        Raises:
            InputError: the value is no list of groups.
        """
        values = self._values.pop(name, None) or []
        if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
            raise InputError(f"Key `{self.label}{name}` must be a list of groups of keys, but got `{values!r}`.")
        new = [Keys(value, f"{self.label}{name}[{number}].") for number, value in enumerate(values)]
        self._groups += new
        return new

    def drop_group(self, name: str, value: Any, reason: str) -> None:
        """Report a key because of which the whole group is left out; its other keys are not reported."""
        self._values, self._groups = {}, []
        self.drop(name, value, reason)

    def drop(self, name: str, value: Any, reason: str, *, to_decide: bool = False) -> None:
        """Report a key that was taken, but could not be carried over; `to_decide` where its reason asks the user."""
        self._reasons[f"{self.label}{name} = {value}"] = reason
        if to_decide:
            self._to_decide.add(f"{self.label}{name} = {value}")

    def to_decide(self) -> set[str]:
        """Return those of `left_over` whose reason asks the user for a decision."""
        return self._to_decide.union(*(group.to_decide() for group in self._groups))

    def left_over(self) -> dict[str, str]:
        """Return every key that was not carried over, as ``key = value``, with the reason if one is known."""
        own = {
            f"{self.label}{name} = {value}": self._superseded.get(name, "")
            for name, value in self._values.items()
            if value is not None
        }
        for group in self._groups:
            own |= group.left_over()
        return own | self._reasons
