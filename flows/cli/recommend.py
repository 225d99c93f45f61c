"""`lycoris recommend`: choose a setting from a finished study."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flows.cli.options import JSON, PATH, Arguments, argument, option
from flows.cli.output import print_json, print_lines
from lycoris.analysis.text.formatting import join_names
from lycoris.errors import InputError
from lycoris.terms import DIMENSIONS

DESCRIPTION = """\
Choose the setting (algorithm, size, captions, learning rate, length) to use after a finished study. Each setting is
averaged over the concepts and seeds of the study. The answer names the choice, its rank in each dimension, the next
best setting and whether the two are separated, and the files of the chosen setting with their trigger words. A plot of
all settings is written beside the study.

  lycoris recommend runs/pocket
  lycoris recommend runs/pocket --weights fidelity=2,diversity=0 --max-size 200kB
"""
RULE = (
    "this is one setting for every concept and seed; the report and `lycoris pull` choose one adapter for each concept "
    "alone"
)
SIZE_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


PARAMETERS = (
    argument("study", type=PATH, help="the folder of a study (runs/NAME), or a table of scores"),
    option("--configs", type=PATH, help="the table of configurations that belongs to a published table"),
    option(
        "--weights",
        default="",
        metavar="DIMENSION=WEIGHT,...",
        help=f"weight of each dimension (default: 1); dimensions: {', '.join(DIMENSIONS)}",
    ),
    option("--max-size", metavar="5MB", help="the largest acceptable adapter file"),
    JSON,
)


def run(arguments: Arguments) -> int:
    """Print the recommendation."""
    from flows.studies.recommend import recommend_study

    result = recommend_study(
        arguments.study,
        arguments.configs,
        weights=parse_weights(arguments.weights),
        max_size=None if arguments.max_size is None else parse_size(arguments.max_size),
    )
    print_lines([*result["lines"][:1], *rule_lines(result["adapters"]), *result["lines"][1:]])
    print_lines(adapter_lines(result["adapters"]))
    print_lines([f"plot      {result['picture']}"])
    if arguments.json:
        print_json(result)
    return 0


def adapter_lines(adapters: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for the file of each adapter, with the word that calls its concept."""
    return [
        f"adapter   {adapter['concept']}: {adapter['file']}"
        + (f"   trigger: {adapter['trigger']}" if adapter.get("trigger") else "")
        for adapter in adapters
    ]


def rule_lines(adapters: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return by which rule the choice was made, and what the report takes by its own; nothing without adapters."""
    others = {adapter["concept"]: adapter["report_takes"] for adapter in adapters if adapter.get("report_takes")}
    if not adapters:
        return []
    if not others:
        return [f"Why: {RULE}, which take the same here."]
    taken = join_names(f"{name} for {concept}" for concept, name in others.items())
    return [f"Why: {RULE}, and take {taken}."]


def parse_weights(text: str) -> dict[str, float]:
    """Parse ``fidelity=2,diversity=0``.

    Raises:
        InputError: A part is not a name and a number, or a dimension occurs twice.
    """
    weights: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = (token.strip() for token in part.partition("="))
        try:
            weight = float(number)
        except ValueError:
            raise InputError(
                f"Option `--weights` must be DIMENSION=WEIGHT,..., such as fidelity=2, but got `{part}`."
            ) from None
        if name in weights:
            raise InputError(f"Option `--weights` names `{name}` twice.")
        weights[name] = weight
    return weights


def parse_size(text: str) -> int:
    """Return the number of bytes of a size such as ``5MB``, ``800 kB`` or ``1.5MiB``.

    Raises:
        InputError: `text` is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.casefold())
    if not match or match[2] not in SIZE_UNITS:
        raise InputError(f"Option `--max-size` must be a size such as 5MB, 800kB or 1.5MiB, but got `{text}`.")
    return int(float(match[1]) * SIZE_UNITS[match[2]])
