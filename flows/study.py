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
from flows.studies.sealing import SEAL_FILE, SealState, seal_study, write_seals
from lycoris.analysis.text.expectation_text import describe_expectation
from lycoris.safety.redaction import redacting_errors
from tasks.data import data_version
from tasks.tracking.client import tracking_server
from tasks.tracking.seals import log_seal

logger = logging.getLogger("lycoris.flows.study")


@flow(name="study", flow_run_name=flow_run_name, task_runner=process_runner(2))
@redacting_errors
def study(definition: Study, search: SearchConfig | None = None, new_seal: bool = False) -> dict[str, Any]:
    """Run the experiment of a study and write its answer.

    Args:
        definition: The question and its experiment.
        search: How to search the grid of the experiment instead of running all of it.
        new_seal: Whether a study that differs from its seal is sealed again.

    Returns:
        The result of `flows.customize.customize`, completed by `flows.studies.answer.answer_study`; for a search, that
        of `flows.studies.adaptive_search.run_search`.

    Raises:
        InputError: The study, its experiment or the data is invalid, or the study differs from its seal.
    """
    if search is not None:
        return _search(definition, search)
    sealed = seal(definition, replace_seal=new_seal) if definition.expect else None
    experiment, budget = match_budget(definition.experiment, definition.match_budget)
    for line in budget:
        logger.info("%s", line, extra={"topic": "budget"})
    result = run_customize(experiment)
    folder = Path(result["report"]).parent
    if sealed is not None:
        write_seals(folder, sealed.seals)  # another one than the study's where that holds another experiment
    answer = answer_study(definition, folder, result, budget)
    return final_state(answer, labelled_adapters(answer), "adapters")


def seal(definition: Study, *, replace_seal: bool = False) -> SealState:
    """Seal a study, in its folder and in MLflow, or check that it is as it was sealed.

    Raises:
        InputError: See `flows.studies.sealing.seal_study`.
    """
    experiment = definition.experiment
    version = data_version.fn(experiment.data, project_root(), experiment.data_rev, experiment.output / "data")
    state = seal_study(definition, version.path, replace=replace_seal)
    current = state.current
    log_seal(
        tracking_server(experiment.output),
        experiment.name,
        current.hash,
        "\n".join(f"- {describe_expectation(one)}" for one in definition.expect),
        {"study.question": definition.question, "study.sealed_at": current.sealed_at, "data.version": version.hash},
        definition.folder / SEAL_FILE,
    )
    logger.info("sealed %s, %s", current.sealed_at, current.hash[:12], extra={"topic": "seal"})
    if state.code_changes:
        logger.warning("changed since the seal: %s", ", ".join(state.code_changes), extra={"topic": "seal"})
    return state


def _search(definition: Study, search: SearchConfig) -> dict[str, Any]:
    experiment = definition.experiment
    version = data_version(experiment.data, project_root(), experiment.data_rev, experiment.output / "data")
    folder = claim_experiment_folder(experiment, DataContent(version.hash, {}), searched=True)
    state = replace(SearchState.of_experiment(experiment, version.path), folder=folder)
    return run_search(state, lambda part: run_customize(part, promote=False), search)
