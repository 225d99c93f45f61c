"""`lycoris study`: ask a question, run what answers it, and say what came out."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli import adaptive
from lycoris.errors import InputError
from lycoris.safety.redaction import printable

if TYPE_CHECKING:
    from flows.studies.definition import Study

DESCRIPTION = """\
Run a study by name and answer its question: the effect of each level of its factors on each dimension in each category,
paired, with intervals, and the pictures beside the numbers. What is finished is kept: the same command goes on from
there, and what could not be done is named while the rest goes on.

  lycoris study pocket --plan                       what it would do, how long it would take, what is there already
  lycoris study captions --set concepts=grumble,biscuit --set algorithms=lora --set seeds=0
"""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    study = commands.add_parser(
        "study",
        help="ask a question: run what answers it, and say what came out",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    study.add_argument("study", help="a name in studies/, or a YAML file like those")
    study.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of `lycoris run`, or equal=..."
    )
    study.add_argument("--plan", action="store_true", help="only say what would be done")
    study.add_argument("--from", dest="folder", type=Path, help="only answer, from a finished study's folder")
    study.add_argument("--json", action="store_true", help="print the result as one JSON object, last line of stdout")
    adaptive.add_options(study)
    study.set_defaults(command=_study)


def _study(arguments: argparse.Namespace) -> int:
    if adaptive.is_search(arguments):
        return adaptive.run(arguments)
    from flows.cli.main import with_prefect_server
    from flows.studies.definition import apply_budget, load_study

    study = load_study(arguments.study, tuple(arguments.set))
    if arguments.folder is not None:
        return _print_answer(study, arguments.folder, _load_results(arguments.folder), [], as_json=arguments.json)
    study, budget = apply_budget(study)
    experiment = study.experiment
    if arguments.plan:
        from flows.studies.plan import describe_plan

        print("\n".join([study.question, *budget, *describe_plan(experiment)]))
        return 0
    for line in budget:
        print(printable(line), file=sys.stderr)

    def work() -> dict[str, Any]:
        from flows.customize import customize_flow

        return customize_flow(experiment)(experiment)

    result = with_prefect_server(experiment, work)
    return _print_answer(study, experiment.output / experiment.name, result, budget, as_json=arguments.json)


def _load_results(folder: Path) -> dict[str, Any]:
    """What was run, from a study's folder.

    Raises:
        InputError: it is none.
    """
    names = ("concept", "algorithm", "captions", "seed", "checkpoint", "file", "run_id", "error")
    try:
        ran = json.loads((folder / "study.json").read_text(encoding="utf-8"))
        return {"adapters": [{name: one.get(name) for name in names} for one in ran["adapters"]]}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"`{folder}` must be the folder of a finished study, with its `study.json`: {error}"
        ) from error


def _print_answer(study: Study, folder: Path, ran: dict[str, Any], budget: list[str], *, as_json: bool) -> int:
    """Say the answer, and what failed; 1 where something did."""
    from flows.studies.definition import write_study_answer

    failed = [adapter for adapter in ran["adapters"] if adapter.get("error")]
    found: dict[str, Any] = {}
    if len(failed) < len(ran["adapters"]):
        found = write_study_answer(study, folder, command=" ".join(["lycoris", *sys.argv[1:]]))
        told = [line for lines in found["told"].values() for line in lines]
        for line in [*found["sentences"], *told, found["answer"]]:
            print(printable(line))
    if failed:
        print(f"{len(failed)} of {len(ran['adapters'])} adapters failed:")
    for adapter in failed:
        print(printable(f"  {_run_label(adapter)}: {adapter['error']}"))
    if as_json:
        sys.stdout.flush()
        print(json.dumps({**ran, **found, "budget": budget}, allow_nan=False, default=os.fspath))
    return 1 if failed else 0


def _run_label(adapter: dict[str, Any]) -> str:
    """An adapter as the lines of a run name it."""
    parts = [adapter["concept"], adapter["algorithm"], adapter["captions"], f"seed {adapter['seed']}"]
    return " · ".join([*parts, *([adapter["checkpoint"]] if adapter["checkpoint"] else [])])
