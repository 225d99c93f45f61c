"""`lycoris study NAME --budget N`: the study's grid is searched instead of trained whole."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from lycoris.safety.redaction import printable

NAME = "adaptive"
"""The study that is always searched."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a search to those of `lycoris study`."""
    group = parser.add_argument_group("for fewer trainings")
    group.add_argument(
        "--budget", type=int, metavar="N", help=f"search the study's grid with N trainings ({NAME}: a third of it)"
    )
    group.add_argument("--search-seed", type=int, default=0, metavar="N", help="another order of concepts")
    group.add_argument("--explorer", default="posterior", help="posterior (default), random, tpe, nsga2")


def wanted(arguments: argparse.Namespace) -> bool:
    """Whether a study is to be searched."""
    return arguments.budget is not None or arguments.study == NAME


def run(arguments: argparse.Namespace) -> int:
    """Search a study's grid and say what to take."""
    from flows.cli.main import served
    from flows.studies.adaptive_search import Cells, adaptive, budget_of, plan
    from flows.studies.definition import read_study
    from lycoris.analysis.decisions.samplers import explorers
    from lycoris.data.concepts import read_concepts
    from tasks.data_versions.revisions import data_version

    study = read_study(arguments.study, tuple(arguments.set))
    experiment = study.experiment
    explorers(arguments.explorer)

    def cells(data: Any) -> Cells:
        names = [concept.name for concept in read_concepts(data, experiment.concepts_file)]
        return Cells(experiment, experiment.chosen(names), experiment.output / experiment.name)

    if arguments.plan:
        grid = cells(experiment.expected_data()).grid(arguments.search_seed)
        print("\n".join([study.question, *plan(grid, budget_of(grid, arguments.budget))]))
        return 0

    def work() -> dict[str, Any]:
        from flows.customize import PROJECT, customize_with

        version = data_version(experiment.data, PROJECT, experiment.data_rev, experiment.output / "data")
        customize = customize_with(experiment)
        return adaptive(
            cells(version.path),
            lambda part: customize(part, crowned=False),
            budget=arguments.budget,
            seed=arguments.search_seed,
            explorer=arguments.explorer,
        )

    result = served(experiment, work)
    for line in [*result["lines"], result["picture"], result["report"]]:
        print(printable(line))
    if arguments.json:
        sys.stdout.flush()
        print(json.dumps(result, allow_nan=False, default=os.fspath))
    return 1 if result["failed"] else 0
