"""Retries: at a constant interval, for a limited time, and only while the service does not answer."""

from __future__ import annotations

import pytest

from lycoris.errors import InputError
from tasks.runtime import retry


class Clock:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retry, "time", clock)
    return clock


def failing(times: int):
    """An action that fails so many times, and the calls it got."""
    calls: list[None] = []

    def action() -> str:
        calls.append(None)
        if len(calls) <= times:
            raise ConnectionError
        return "answer"

    return action, calls


def unavailable(error: Exception) -> bool:
    return isinstance(error, ConnectionError)


def test_an_action_is_called_again_until_it_answers(clock: Clock) -> None:
    action, calls = failing(3)
    assert retry.retry_until_available(action, "the store", unavailable) == "answer"
    assert len(calls) == 4
    assert clock.pauses == [5.0] * 3


def test_it_gives_up_once_the_time_limit_is_over(clock: Clock) -> None:
    """At 900 s there is still an attempt to come; the one at 905 s is the last."""
    action, calls = failing(500)
    with pytest.raises(InputError, match="The store does not answer"):
        retry.retry_until_available(action, "the store", unavailable)
    assert clock.pauses == [5.0] * 181
    assert len(calls) == 182


def test_any_other_error_is_raised_at_once(clock: Clock) -> None:
    action, calls = failing(1)
    with pytest.raises(ConnectionError):
        retry.retry_until_available(action, "the store", lambda error: False)
    assert (len(calls), clock.pauses) == (1, [])
