"""`lycoris recommend`: which adapter to take from a finished study, and how sure that is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lycoris.errors import InputError
from lycoris.safety.redaction import printable

DESCRIPTION = """\
Which setting to take from a finished study: algorithm, size, captions, learning rate, length. Settings are averaged
over the study's concepts and seeds; said are the choice, where it stands in each dimension, its runner-up and whether
the two can be told apart, and the Pareto front, drawn beside the study.

  lycoris recommend runs/pocket
  lycoris recommend runs/pocket --weights fidelity=2,diversity=0 --max-size 200kB
"""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    one = commands.add_parser(
        "recommend",
        help="which adapter to take from a finished study, and how sure that is",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.add_argument("study", type=Path, help="a study's folder (runs/NAME), or a table of scores")
    one.add_argument("--configs", type=Path, help="what each configuration is, for a published table")
    one.add_argument("--weights", default="", metavar="DIMENSION=WEIGHT,...", help="how much each counts; default: 1")
    one.add_argument("--max-size", metavar="5MB", help="the largest file that will do")
    one.add_argument("--json", action="store_true", help="print the result as one JSON object, last line of stdout")
    one.set_defaults(command=_recommend)


def parse_weights(text: str) -> dict[str, float]:
    """``fidelity=2,diversity=0`` as numbers.

    Raises:
        InputError: a part is no pair of a name and a number, or names a dimension twice.
    """
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = (each.strip() for each in part.partition("="))
        try:
            value = float(number)
        except ValueError:
            raise InputError(
                f"`--weights` must be DIMENSION=WEIGHT,..., such as fidelity=2, but got `{part}`."
            ) from None
        if name in found:
            raise InputError(f"`--weights` names `{name}` twice.")
        found[name] = value
    return found


def _recommend(arguments: argparse.Namespace) -> int:
    from flows.studies.recommend import parse_size, recommend_study

    found = recommend_study(
        arguments.study,
        arguments.configs,
        weights=parse_weights(arguments.weights),
        max_size=None if arguments.max_size is None else parse_size(arguments.max_size),
    )
    for line in [*found["lines"], found["picture"]]:
        print(printable(line))
    if arguments.json:
        print(json.dumps(found, allow_nan=False))
    return 0
