"""Remove secrets and control characters from texts for people and logs.

Where an address can be read in two ways, the reading that hides more is taken: people forget to escape a password.
"""

from __future__ import annotations

import base64
import functools
import inspect
import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any, TypeVar, cast
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from lycoris.safety.file_names import is_printable

Function = TypeVar("Function", bound=Callable[..., Any])

HIDDEN = "***"
MIN_SECRET_LENGTH = 6
"""Characters; shorter values are words that occur everywhere."""
MIN_TOKEN_LENGTH = 20
"""Characters of a token in place of a user name; shorter ones are names of users."""

_SECRET_VARIABLE = re.compile(
    r"TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL|CONNECTION_STRING|AUTHORIZATION|AUTH_STRING"
    r"|(API|ACCESS|ACCOUNT|PRIVATE|SIGNING|ENCRYPTION|DEPLOY)_?KEY|_(AUTH|PWD|PAT|SAS)$",
    re.IGNORECASE,
)
"""Names of environment variables whose values are secrets."""

_SCHEME = re.compile(
    r"\b([a-z][a-z0-9+.-]{1,30}):/{1,2}", re.IGNORECASE
)  # `Path` turns the two slashes of a URL into one
_ALIAS_SCHEMES = ("models",)
"""Schemes whose ``@`` separates an alias: ``models:/grumble@champion``."""
_SPACE, _AUTHORITY = re.compile(r"\s"), re.compile(r"[^/?#@]*")
_LOOPBACK_AND_PORT = re.compile(r"(localhost|[0-9]+(\.[0-9]+){3}|\[[0-9a-f:.]+\]):[0-9]+", re.IGNORECASE)
_USER_AND_PASSWORD = re.compile(r"(?<![\w/@:.+-])[\w.+-]+:[^\s/@:]+(?=@[\w.-]+)(?!@sha256)")
"""``user:password@host`` without a scheme."""
_NAME = (
    r"(?:[\w.%-]{0,40}(?:passw(?:or)?d|passphrase|secret|token|credential|signature|authorization"
    r"|(?:api|access|account|private|auth)(?:[_.-]|%2d|%5f)?(?:key|string|code))[\w.%-]*|sig|pwd|pass|key|code|auth|sas|jwt)"
)
"""Names of query parameters that hold secrets."""
_PARAMETER = re.compile(rf"([?&;#]{_NAME}=)[^&\s]*?(?=[`\"'>).,]*(?:[&\s]|$))", re.IGNORECASE)
_STRONG_NAME = (
    r"[\w-]{0,40}(?:passw(?:or)?d|passphrase|secret|(?:api|access|account|private|secret)[_-]?key"
    r"|(?:access|auth|refresh|session|security|sas)[_-]?token|auth[_-]?string)"
)
_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_ASSIGNMENT = re.compile(rf"((?<![\w-]){_STRONG_NAME}=)(?!\"?\$\()(?:{_QUOTED}|[^\s;&]+)", re.IGNORECASE)
"""``password=...`` of a connection string or a command line; ``"$(...)"`` is an instruction, not a secret."""
_ENTRY = re.compile(rf"([\"']{_STRONG_NAME}[\"']\s*:\s*)(?:{_QUOTED}|[^\s,}}]+)", re.IGNORECASE)
"""``"password": ...`` of a mapping."""
_HEADER = re.compile(
    r"(authorization[\"']?\s*[:=]\s*[\"']?(?:(?:basic|bearer|digest|token)\s+)?)[^\s\"']+"
    r"|(\bbearer\s+)[\w+/=.~-]{8,}|(\bbasic\s+)(?=\S*[0-9=])[a-z0-9+/]{10,}={0,2}",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"\b(?:(?:hf|gh[pousr]|github_pat)_\w{8,}|(?:glpat|xox[abprs])-[\w-]{8,}|sk-[\w-]{20,}|A[KS]IA[0-9A-Z]{12,}"
    r"|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*)"
)
"""Tokens that are known by their first letters."""


def redact(text: str) -> str:
    """Replace secrets by ``***``: in addresses, connection strings and headers, and those of the environment."""
    for secret in _environment_secrets(tuple(os.environ.items())):
        text = text.replace(secret, HIDDEN)
    text = _redact_addresses(text)
    for pattern in (_ASSIGNMENT, _ENTRY, _HEADER):
        text = pattern.sub(lambda match: next(filter(None, match.groups())) + HIDDEN, text)
    return _TOKEN.sub(HIDDEN, text)


def redact_values(value: Any) -> Any:
    """Redact every text in nested mappings and sequences, except embedded images and HTML; mappings become dicts."""
    if isinstance(value, str):
        return value if value.startswith("data:") or hasattr(value, "__html__") else redact(value)
    if isinstance(value, PurePath):
        return redact(str(value))
    if isinstance(value, Mapping):
        return {key: redact_values(entry) for key, entry in value.items()}
    return [redact_values(entry) for entry in value] if isinstance(value, list | tuple) else value


def redact_error(error: BaseException) -> None:
    """Redact the texts of an error and of those that caused it, in place, before something stores them."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        if (current := waiting.pop()) is None or id(current) in seen:
            continue
        seen.add(id(current))
        current.args = tuple(redact_values(list(current.args)))
        if isinstance(current, OSError) and current.filename is not None:
            current.filename = redact_values(current.filename)
        waiting += [current.__cause__, current.__context__, *getattr(current, "exceptions", ())]


def redacting_errors(function: Function) -> Function:
    """Decorate a task or flow: Prefect stores the texts of its errors."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except Exception as error:
            redact_error(error)
            raise

    with suppress(NameError):  # types that are imported only for type checks
        vars(call)["__signature__"] = inspect.signature(
            function, eval_str=True
        )  # in whose module Prefect looks up types
    return cast(Function, call)


def has_secret(text: str) -> bool:
    """Whether an address in a text contains a user name, a password, or a parameter that is a secret."""
    return _redact_addresses(text) != text


class RedactingFilter(logging.Filter):
    """Removes secrets from the records that a handler is about to send or store."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record in place, and keep it."""
        record.msg, record.args = redact(record.getMessage()), ()
        if record.exc_info and record.exc_info[1] is not None:
            redact_error(record.exc_info[1])
        return True


def printable(text: str) -> str:
    """Replace characters that control a terminal, or cannot be shown, by their escape codes; line breaks stay."""
    return "".join(each if each == "\n" or is_printable(each) else _escape(ord(each)) for each in text)


def one_line(text: str) -> str:
    """Like `printable`, for what is to stay on one line: line breaks are escaped too."""
    return printable(text).replace("\n", _escape(ord("\n")))


def _escape(code_point: int) -> str:
    return f"\\x{code_point:02x}" if code_point < 256 else f"\\u{code_point:04x}"


@functools.lru_cache(maxsize=4)
def _environment_secrets(environment: tuple[tuple[str, str], ...]) -> list[str]:
    """Return the secrets of an environment, in each form in which they may be written, the longest first."""
    found = set()
    for name, value in environment:
        if _SECRET_VARIABLE.search(name):
            parts = [value, value.partition(":")[2]] if "AUTH" in name.upper() else [value]
        else:
            parts = _address_secrets(value) if "://" in value else []
        for part in parts:
            if len(part) >= MIN_SECRET_LENGTH:
                found |= {part, quote(part, safe=""), quote_plus(part), base64.b64encode(part.encode()).decode()}
    return sorted(found, key=len, reverse=True)


def _address_secrets(address: str) -> list[str]:
    """Return the password or token of an address, as written and unescaped."""
    _, _, rest = address.partition("://")
    user, _, password = rest[: _user_end(rest, 0, len(rest))].partition(":")
    found = [password or (user if len(user) >= MIN_TOKEN_LENGTH else "")]
    found += [match.group().partition("=")[2] for match in _PARAMETER.finditer(address)]
    return [form for part in found for form in (part, unquote(part), unquote_plus(part))]


def _redact_addresses(text: str) -> str:
    """Replace user names, passwords and parameters that are secrets."""
    parts, start, token_end = [], 0, 0
    while (scheme := _SCHEME.search(text, start)) is not None:
        parts.append(text[start : scheme.end()])
        start = scheme.end()
        if start >= token_end:
            space = _SPACE.search(text, start)
            token_end = len(text) if space is None else space.start()
        end = start if scheme.group(1).lower() in _ALIAS_SCHEMES else _user_end(text, start, token_end)
        if end > start:
            parts.append(HIDDEN)
            start = end
    parts.append(text[start:])
    text = _USER_AND_PASSWORD.sub(HIDDEN, "".join(parts))
    return _PARAMETER.sub(lambda match: match.group(1) + HIDDEN, text)


def _user_end(text: str, start: int, end: int) -> int:
    """Return where the user name and password end in an address that goes on from `start` to `end`.

    A password may contain any character that somebody forgot to escape, so that it ends at the last ``@``.

    Returns:
        The position of that ``@``, or `start` if there is no user name.
    """
    match = _AUTHORITY.match(text, start, end)
    first = "" if match is None else match.group()
    after = start + len(first)
    is_user = text[after : min(after + 1, end)] == "@"
    if ":" in first and (is_user or not _LOOPBACK_AND_PORT.fullmatch(first)):
        return max(text.rfind("@", start, end), start)
    return after if is_user else start
