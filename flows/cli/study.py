"""`lycoris study`: answer a question by an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from flows.cli.options import JSON, PATH, Arguments, argument, option, overrides
from flows.cli.output import print_json, print_lines
from lycoris.errors import InputError

if TYPE_CHECKING:
    from flows.studies.adaptive_search import SearchConfig
    from flows.studies.definition import Study

DESCRIPTION = """\
Run a study by name and answer its question: the effect of each level of its factors on each dimension in each category,
paired, with confidence intervals, and the images beside the numbers. Finished work is cached, so the same command
resumes. Adapters that fail are listed; the others are still evaluated.

  lycoris study pocket --plan                       what it would run, how long that takes, what is cached
  lycoris study captions --set concepts=grumble,biscuit --set algorithms=lora --set seeds=0
  lycoris study pocket --budget 10                  search the grid with ten trainings instead of running all of it
"""
ADAPTIVE_STUDY = "adaptive"
"""The study that is always searched."""


def _complete_study(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a study, else a file."""
    from flows.studies.names import study_names

    names = [name for name in study_names() if name.startswith(incomplete)]
    return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


PARAMETERS = (
    argument(
        "study", shell_complete=_complete_study, help="a name (see the list below), or a YAML file in the same format"
    ),
    overrides("set an option of `lycoris run`, or match_budget; repeatable"),
    option("--plan", is_flag=True, help="print what would be run, and stop"),
    option("--seal", is_flag=True, help="only seal a study that has expectations, and stop"),
    option("--new-seal", is_flag=True, help="seal a study again that differs from its seal; the old one stays listed"),
    option("--from", "folder", type=PATH, help="answer from the folder of a finished study"),
    JSON,
    option(
        "--budget", type=int, metavar="N", help=f"search the grid with N trainings ({ADAPTIVE_STUDY}: a third of it)"
    ),
    option("--search-seed", type=int, default=0, metavar="N", help="of a search: seed of the order of concepts"),
    option("--sampler", default="posterior", help="of a search: posterior (default), random, tpe or nsga2"),
)


def epilog() -> str:
    """Return the names and questions of the studies."""
    from flows.studies.names import study_names, study_question

    return "studies:\n" + "\n".join(f"  {name:<12} {study_question(name)}" for name in study_names())


def run(arguments: Arguments) -> int:
    """Run the study, or print its plan or the answer of a finished one; 1 if an adapter failed."""
    from flows.runtime.session import with_prefect_server
    from flows.studies.definition import load_study
    from flows.studies.sealing import SEAL_FILE

    study = load_study(arguments.study, tuple(arguments.overrides))
    search = _search_config(arguments)
    if arguments.plan:
        return _print_plan(study, search)
    _check_seal_options(study, arguments)
    if arguments.seal:
        from flows.study import seal

        state = seal(study, replace_seal=arguments.new_seal)
        print_lines([f"sealed {state.current.sealed_at}: {state.current.hash}", str(study.folder / SEAL_FILE)])
        return 0
    if arguments.folder is not None:
        return _answer_finished(study, arguments.folder, as_json=arguments.json)

    def run_study() -> dict[str, Any]:
        from flows.runtime.states import flow_result
        from flows.study import study as study_flow

        return flow_result(study_flow(study, search, new_seal=arguments.new_seal, return_state=True))

    result = with_prefect_server(study.experiment, run_study)
    if search is not None:
        print_lines([*result["lines"], result["picture"], result["report"]])
        failures = result["failed"]
    else:
        failures = _print_answer(result)
    if arguments.json:
        print_json(result)
    return 1 if failures else 0


def _check_seal_options(study: Study, arguments: Arguments) -> None:
    """Raise an error for an option that does not fit the expectations of a study, or their absence."""
    if study.expect and _search_config(arguments) is not None:
        raise InputError("A study with `expect:` cannot be searched: a search chooses runs by their results.")
    for name, is_set in (("--seal", arguments.seal), ("--new-seal", arguments.new_seal)):
        if is_set and not study.expect:
            raise InputError(f"Option `{name}` needs a study with `expect:`, which `{study.name}` has not.")
        if is_set and arguments.folder is not None:
            raise InputError(f"Option `{name}` cannot be used with `--from`: a finished study is not sealed.")


def _search_config(arguments: Arguments) -> SearchConfig | None:
    """Return how the grid is searched; None where all of it is trained."""
    if arguments.budget is None and arguments.study != ADAPTIVE_STUDY:
        return None
    from flows.studies.adaptive_search import SearchConfig
    from lycoris.analysis.decisions.samplers import get_sampler

    get_sampler(arguments.sampler)  # an unknown name fails before any work
    return SearchConfig(budget=arguments.budget, seed=arguments.search_seed, sampler=arguments.sampler)


def _print_plan(study: Study, search: SearchConfig | None) -> int:
    if search is not None:
        from flows.studies.adaptive_search import SearchState, describe_search, search_budget

        grid = SearchState.of_experiment(study.experiment, study.experiment.data_folder()).grid(search.seed)
        print_lines([study.question, *describe_search(grid, search_budget(grid, search.budget))])
        return 0
    from flows.studies.budget_matching import match_budget
    from flows.studies.plan import describe_plan

    experiment, budget = match_budget(study.experiment, study.match_budget)
    print_lines([study.question, *budget, *describe_plan(experiment)])
    return 0


def _answer_finished(study: Study, folder: Path, *, as_json: bool) -> int:
    from flows.studies.answer import answer_study, load_adapter_records

    result = answer_study(study, folder, {"adapters": load_adapter_records(folder)})
    failures = _print_answer(result)
    if as_json:
        print_json(result)
    return 1 if failures else 0


def _print_answer(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Print the answer and the adapters that failed, and return these."""
    if "answer" in result:
        reports = [line for lines in result["told"].values() for line in lines]
        print_lines([*result.get("expected", []), *result["sentences"], *reports, result["answer"]])
    failures = [adapter for adapter in result["adapters"] if adapter.get("error")]
    if failures:
        print_lines([f"{len(failures)} of {len(result['adapters'])} adapters failed:"])
        print_lines(f"  {_run_label(adapter)}: {adapter['error']}" for adapter in failures)
    return failures


def _run_label(adapter: dict[str, Any]) -> str:
    """Return the name of an adapter as in the progress lines of a run."""
    parts = [adapter["concept"], adapter["algorithm"], adapter["captions"], f"seed {adapter['seed']}"]
    return " · ".join([*parts, *([adapter["checkpoint"]] if adapter["checkpoint"] else [])])
