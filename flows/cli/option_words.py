"""Messages of the library in the words of the command line: options in place of arguments of Python functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import click

_ARGUMENT = re.compile(r"\b(A|a)rgument(s?) (`\w+`(?:(?:, | and | or )`\w+`)*)")
_PYTHON_ONLY = re.compile(r"(?<=\.) [^.`]*`\w+=\w+`[^.]*\.")
"""A sentence that recommends a keyword argument, which the command line has no option for."""


def with_options(message: str, parameters: Sequence[click.Parameter], names: Mapping[str, str]) -> str:
    """Return a message with a command's options in place of the arguments of Python functions.

    Args:
        message: such as ``"Argument `model` must ..."``.
        parameters: of the command.
        names: argument of a Python function → name of a parameter, where the two differ.
    """
    by_name = {parameter.name: parameter for parameter in parameters}

    def replace(match: re.Match[str]) -> str:
        listed = [names.get(name, name) for name in re.findall(r"`(\w+)`", match[3])]
        found = [by_name.get(name) for name in listed]
        if not all(found):
            return match[0]
        spelled = iter(_spell(parameter) for parameter in found if parameter is not None)
        text = re.sub(r"`\w+`", lambda _: f"`{next(spelled)}`", match[3])
        is_option = all(isinstance(parameter, click.Option) for parameter in found)
        word = f"{'O' if match[1] == 'A' else 'o'}ption" if is_option else f"{match[1]}rgument"
        return f"{word}{match[2]} {text}"

    return _ARGUMENT.sub(replace, _PYTHON_ONLY.sub("", message))


def _spell(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.make_metavar(click.Context(click.Command("lycoris"))).strip("[]")
