"""`lycoris refresh`: what the schedule does, by hand or from a hook or a line of CI."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lycoris.errors import InputError

DESCRIPTION = """\
Look which version the data is. If this experiment was refreshed on it before, do nothing. Otherwise customize again
and let each concept's challenger meet its champion on the same prompts and seeds, against pictures held out from
training.
The challenger takes the champion's place only if it is better by the rule that the result states.
"""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    again = commands.add_parser(
        "refresh",
        help="when the data changed: run again; the challenger meets the champion",
        description=DESCRIPTION,
    )
    again.add_argument("experiment", nargs="?", type=Path, help="a YAML file of options, as for `lycoris run`")
    again.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one option; repeatable")
    again.add_argument("--data-rev", metavar="REV", help="on the data of a git revision, such as HEAD")
    again.add_argument("--goal", default="fidelity", help="the dimension that must be better; default: fidelity")
    again.add_argument(
        "--allow", action="append", default=[], metavar="DIMENSION=LOSS", help="how much worse one may be"
    )
    again.add_argument("--json", action="store_true", help="print the result as one JSON object, last line of stdout")
    again.set_defaults(command=_refresh)


def _refresh(arguments: argparse.Namespace) -> int:
    from flows.cli.main import with_prefect_server
    from flows.config.experiment import load_experiment

    chosen = () if arguments.data_rev is None else (f"data_rev={json.dumps(arguments.data_rev)}",)
    experiment = load_experiment(arguments.experiment, (*arguments.set, *chosen))
    allowed = {}
    for given in arguments.allow:
        name, _, loss = given.partition("=")
        try:
            allowed[name] = float(loss)
        except ValueError:
            raise InputError(f"`--allow` must be DIMENSION=LOSS, such as `diversity=0.1`, but got `{given}`.") from None

    def work() -> dict[str, Any]:
        from flows.refresh import PromotionConfig, refresh

        return refresh(experiment, PromotionConfig(target_dimension=arguments.goal, tolerances=allowed))

    from lycoris.analysis import decide_promotion

    decide_promotion([], arguments.goal, allowed)
    result = with_prefect_server(experiment, work)
    if arguments.json:
        sys.stdout.flush()
        print(json.dumps(result, allow_nan=False))
    return 1 if any(concept["state"] == "failed" for concept in result["concepts"]) else 0
