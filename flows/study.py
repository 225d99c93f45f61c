"""The study flow: run the experiment of a study, or search its grid, and write the answer."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow

from flows.config.project import project_root
from flows.customize import run_customize
from flows.runtime.run_names import flow_run_name
from flows.runtime.states import final_state
from flows.runtime.task_runner import process_runner
from flows.steps.publish import labelled_adapters
from flows.steps.result_folder import DataContent, claim_experiment_folder
from flows.studies.adaptive_search import SearchConfig, SearchState, run_search
from flows.studies.answer import answer_study
from flows.studies.budget_matching import match_budget
from flows.studies.definition import Study
from lycoris.safety.redaction import redacting_errors
from tasks.data import data_version

logger = logging.getLogger("lycoris.flows.study")


@flow(name="study", flow_run_name=flow_run_name, task_runner=process_runner(2))
@redacting_errors
def study(definition: Study, search: SearchConfig | None = None) -> dict[str, Any]:
    """Run the experiment of a study and write its answer.

    Args:
        definition: The question and its experiment.
        search: How to search the grid of the experiment instead of running all of it.

    Returns:
        The result of `flows.customize.customize`, completed by `flows.studies.answer.answer_study`; for a search, that
        of `flows.studies.adaptive_search.run_search`.

    Raises:
        InputError: The study, its experiment or the data is invalid.
    """
    if search is not None:
        return _search(definition, search)
    experiment, budget = match_budget(definition.experiment, definition.match_budget)
    for line in budget:
        logger.info("%s", line, extra={"topic": "budget"})
    result = run_customize(experiment)
    answer = answer_study(definition, Path(result["report"]).parent, result, budget)
    return final_state(answer, labelled_adapters(answer), "adapters")


def _search(definition: Study, search: SearchConfig) -> dict[str, Any]:
    experiment = definition.experiment
    version = data_version(experiment.data, project_root(), experiment.data_rev, experiment.output / "data")
    folder = claim_experiment_folder(experiment, DataContent(version.hash, {}), searched=True)
    state = replace(SearchState.of_experiment(experiment, version.path), folder=folder)
    return run_search(state, lambda part: run_customize(part, promote=False), search)
