"""`lycoris study`: ask a question, run what answers it, and say what came out."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from flows import adaptive_command
from lycoris.redaction import printable

ABOUT = """\
Run a study by name and answer its question: the effect of each level of one factor on each dimension in each category,
paired, with intervals, and the pictures beside the numbers.

  lycoris study captions --plan
  lycoris study captions --set concepts=grumble,biscuit --set algorithms=lora --set seeds=0
"""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    study = commands.add_parser(
        "study",
        help="ask a question: run what answers it, and say what came out",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    study.add_argument("study", help="a name in studies/, or a YAML file like those")
    study.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of `lycoris run`")
    study.add_argument("--plan", action="store_true", help="only say what would be done")
    study.add_argument("--json", action="store_true", help="print the result as one JSON object, last line of stdout")
    adaptive_command.add_options(study)
    study.set_defaults(command=_study)


def _study(arguments: argparse.Namespace) -> int:
    if adaptive_command.wanted(arguments):
        return adaptive_command.run(arguments)
    from flows.cli import served
    from flows.study import answer, plan, read_study

    study = read_study(arguments.study, tuple(arguments.set))
    experiment = study.experiment
    if arguments.plan:
        from lycoris import pocket
        from lycoris.concepts import read_concepts

        data = experiment.data if experiment.data.is_dir() else pocket.PICTURES
        names = [concept.name for concept in read_concepts(data, experiment.concepts_file)]
        print("\n".join(plan(study, len(experiment.chosen(names)))))
        return 0

    def work() -> dict[str, Any]:
        from flows.customize import customize_with, workers

        return customize_with(workers(experiment))(experiment)

    result = served(experiment, work)
    command = " ".join(["lycoris", *sys.argv[1:]])
    found = answer(study, experiment.output / experiment.name, command=command)
    for line in [*found["sentences"], found["answer"]]:
        print(printable(line))
    if arguments.json:
        sys.stdout.flush()
        print(json.dumps({**result, **found}, allow_nan=False, default=os.fspath))
    return 1 if any(adapter.get("error") for adapter in result["adapters"]) else 0
