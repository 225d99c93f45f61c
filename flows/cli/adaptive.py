"""`lycoris study NAME --budget N`: the study's grid is searched instead of trained whole."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from lycoris.safety.redaction import printable

ADAPTIVE_STUDY = "adaptive"
"""The study that is always searched."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a search to those of `lycoris study`."""
    group = parser.add_argument_group("for fewer trainings")
    group.add_argument(
        "--budget",
        type=int,
        metavar="N",
        help=f"search the study's grid with N trainings ({ADAPTIVE_STUDY}: a third of it)",
    )
    group.add_argument("--search-seed", type=int, default=0, metavar="N", help="another order of concepts")
    group.add_argument("--explorer", default="posterior", help="posterior (default), random, tpe, nsga2")


def is_search(arguments: argparse.Namespace) -> bool:
    """Whether a study is to be searched."""
    return arguments.budget is not None or arguments.study == ADAPTIVE_STUDY


def run(arguments: argparse.Namespace) -> int:
    """Search a study's grid and say what to take."""
    from flows.cli.main import with_prefect_server
    from flows.studies.adaptive_search import SearchState, describe_search, run_search, search_budget
    from flows.studies.definition import load_study
    from lycoris.analysis.decisions.samplers import get_sampler
    from lycoris.data.concepts import load_concepts
    from tasks.data import data_version

    study = load_study(arguments.study, tuple(arguments.set))
    experiment = study.experiment
    get_sampler(arguments.explorer)

    def cells(data: Any) -> SearchState:
        names = [concept.name for concept in load_concepts(data, experiment.concepts_file)]
        return SearchState(experiment, experiment.select_concepts(names), experiment.output / experiment.name)

    if arguments.plan:
        grid = cells(experiment.data_folder()).grid(arguments.search_seed)
        print("\n".join([study.question, *describe_search(grid, search_budget(grid, arguments.budget))]))
        return 0

    def work() -> dict[str, Any]:
        from flows.customize import PROJECT_ROOT, customize_flow

        version = data_version(experiment.data, PROJECT_ROOT, experiment.data_rev, experiment.output / "data")
        customize = customize_flow(experiment)
        return run_search(
            cells(version.path),
            lambda part: customize(part, promote=False),
            budget=arguments.budget,
            seed=arguments.search_seed,
            sampler=arguments.explorer,
        )

    result = with_prefect_server(experiment, work)
    for line in [*result["lines"], result["picture"], result["report"]]:
        print(printable(line))
    if arguments.json:
        sys.stdout.flush()
        print(json.dumps(result, allow_nan=False, default=os.fspath))
    return 1 if result["failed"] else 0
