"""The main flow: version the data, caption, train, generate images, score, log and register, then report.

Data flows one way: data -> captions -> adapter -> images -> features -> scores -> champion -> report. Every step is a
Prefect task that finds its finished work by content key, so that an interrupted run, or a study that grew by one
concept, does only what is new.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from prefect import flow

from flows.config.concepts import select_concepts
from flows.config.defaults import EXECUTION_FIELDS
from flows.config.experiment import Experiment
from flows.config.model_notes import model_notes
from flows.config.preflight import validate_experiment
from flows.config.project import project_root
from flows.runtime.environment import code_version
from flows.runtime.run_names import flow_run_name
from flows.runtime.states import final_state, flow_result
from flows.runtime.task_runner import (
    create_task_runner,
    has_requested_task_runner,
    process_runner,
    use_task_runner,
)
from flows.steps.evaluate import Candidate, count_steps, evaluate
from flows.steps.futures import submit
from flows.steps.grid import PlannedRun, expand_grid, training_requests
from flows.steps.outcomes import StudyOutcome
from flows.steps.publish import labelled_adapters, publish_study
from flows.steps.register import Registration, register_adapters
from flows.steps.requests import begin_run, caption_request, census_messages, evaluation_setup, image_sets, prior_sets
from flows.steps.result_folder import claim_experiment_folder, data_content
from flows.steps.serializers import report_header, report_payload, result_summary, write_scores_table, write_study
from flows.steps.strength import count_sweep_steps, other_strengths, sweep_champions
from flows.steps.train import count_trainings, group_trainings, submit_trainings
from flows.studies.card_plan import fit_experiment
from flows.studies.estimate import log_estimate
from lycoris.analysis.text.formatting import counted
from lycoris.cache.keys import stage_key
from lycoris.cache.outputs import write_if_changed
from lycoris.cache.store import Store
from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import CaptionedConcept, RunContext
from tasks.caption import caption_concepts
from tasks.data import data_version
from tasks.data_versions.manifest import DataVersion
from tasks.models import ModelRefs, resolve_models
from tasks.report import report_inputs, write_report
from tasks.runtime import log_forwarding, progress
from tasks.tracking.client import connect, tracking_server
from tasks.tracking.live_curves import LiveCurves
from tasks.tracking.runs import StudyRun, ending_study, open_study
from tasks.tracking.trackers import TrackerCurves
from tasks.trainings import TrainingRequest

logger = logging.getLogger("lycoris.flows.customize")


def run_customize(experiment: Experiment, promote: bool = True) -> dict[str, Any]:
    """Run `customize` on the task runner that the experiment names."""
    task_runner = create_task_runner(experiment, progress.progress_dir(experiment.output))
    return flow_result(customize.with_options(task_runner=task_runner)(experiment, promote, return_state=True))


@flow(name="customize", flow_run_name=flow_run_name, task_runner=process_runner(2))
@redacting_errors
def customize(experiment: Experiment = Experiment(), promote: bool = True) -> dict[str, Any]:  # noqa: B008 - frozen
    """Customize a base to every selected concept, in every selected way, and measure what each way did.

    Args:
        experiment: see `flows.config.experiment.Experiment` for its options.
        promote: whether the best adapter of a concept becomes its champion; if not, only its challenger.

    Returns:
        ``{"report", "data_version", "seconds", "adapters": [...], "verdicts": [...]}``, as `lycoris run --json` prints
        it.

    Raises:
        InputError: the experiment or the data is invalid.
    """
    validate_experiment(experiment)  # also of a deployment, which no command has checked
    if not has_requested_task_runner(experiment):  # a deployment starts the flow before its parameters are read
        with use_task_runner(create_task_runner(experiment, progress.progress_dir(experiment.output))):
            return customize.fn(experiment, promote)
    started = time.monotonic()
    experiment, chosen = fit_experiment(experiment)
    context = begin_run(experiment)
    for line in chosen:
        logger.info("%s", line, extra={"topic": "fit"})
    version = data_version(experiment.data, project_root(), experiment.data_rev, experiment.output / "data")
    files = counted(version.files, "file")
    logger.info("%s is version %s, %s", version.path, version.hash, files, extra={"topic": "data"})
    log_estimate(experiment, version.path)
    connect(tracking_server(experiment.output))  # an address that MLflow cannot open is an error before any work
    models = resolve_models(**experiment.model_sources())
    with (
        progress.display(progress.progress_dir(experiment.output)) as steps,
        log_forwarding.connected(context.progress),
    ):
        concepts, caption_steps = _caption(context, experiment, models, version.path)
        with Store(context.store).lock(stage_key("folder", {"name": experiment.name})):
            folder = claim_experiment_folder(experiment, data_content(concepts, version.hash), is_part=not promote)
        with (
            ending_study(_open_study(context, experiment, version, chosen)) as study,
            closing(TrackerCurves(experiment.trackers, experiment.name, experiment.output)) as trackers,
        ):
            live = LiveCurves(study)
            steps.on_curve = trackers.after(live)
            runs = expand_grid(experiment, concepts)
            groups, candidates = _plan(context, experiment, models, concepts, runs)
            setup = evaluation_setup(context, experiment, models)
            steps.set_total(caption_steps + count_trainings(groups) + count_steps(setup, candidates))
            trainings = submit_trainings(context, groups)
            candidates = [
                replace(one, adapter=trainings[run.spec.training]) for run, one in zip(runs, candidates, strict=True)
            ]
            registration = Registration(context, study, models.base, folder, code_version(), promote)
            evaluations = evaluate(setup, candidates)
            outcome = register_adapters(registration, runs, evaluations)
            if promote:
                strengths = other_strengths(experiment)
                steps.set_total(steps.total + count_sweep_steps(strengths) * len(outcome.learned))
                evaluated = {
                    run.spec: (candidate, futures)
                    for run, candidate, futures in zip(runs, candidates, evaluations, strict=True)
                }
                outcome.sweeps |= sweep_champions(setup, strengths, evaluated, outcome)
            title = f"Study {folder.name}"
            settings = experiment.model_dump(mode="json")
            header = report_header(title, settings, models, concepts, time.monotonic() - started)
            header["fit"] = chosen
            header["notes"] = model_notes(experiment, [one.name for one in concepts], about_base=False)
            live.close()
            result = _report(registration, header, outcome, started, score_costs=experiment.score_costs)
    logger.info("%s   (%.0f s)", result["report"], result["seconds"], extra={"topic": "report"})
    return final_state(result, labelled_adapters(result), "adapters")


def _caption(
    context: RunContext, experiment: Experiment, models: ModelRefs, data: Path
) -> tuple[list[CaptionedConcept], int]:
    """Caption the selected concepts; also return how many steps that takes."""
    known = select_concepts(experiment, data)
    for message in census_messages(experiment, data, known.known):
        logger.info("%s", message, extra={"topic": "data"})
    for note in model_notes(experiment, [concept.name for concept in known.selected]):
        logger.warning("%s", note, extra={"topic": "models"})
    request = caption_request(experiment, known, models.tagger, models.captioner)
    if context.artifact_store is None:
        concepts = submit(caption_concepts, context, request).result()
    else:  # only this machine sees the data folder
        concepts = caption_concepts(context, request)
    writes_sentences = models.captioner is not None and models.captioner.source != "sidecar"
    return concepts, len(known.known) + len(concepts) * writes_sentences


def _plan(
    context: RunContext,
    experiment: Experiment,
    models: ModelRefs,
    concepts: list[CaptionedConcept],
    runs: list[PlannedRun],
) -> tuple[list[list[TrainingRequest]], list[Candidate]]:
    """Return the trainings in groups that run together, and for each run what to evaluate, without its adapter."""
    images = image_sets(context, concepts)
    requests = training_requests(experiment, models.base, runs, images, prior_sets(context, concepts))
    candidates = [
        Candidate.of_concept(
            run.spec.label,
            run.concept,
            run.spec.strategy,
            (f"{run.concept.name} · references", images[run.concept.name]),
            checkpoint=run.spec.checkpoint,
        )
        for run in runs
    ]
    return group_trainings(experiment, requests), candidates


def _report(
    registration: Registration, header: dict[str, Any], outcome: StudyOutcome, started: float, *, score_costs: bool
) -> dict[str, Any]:
    """Write the report, `study.json` and the table of scores; return the summary of a run that began at `started`."""
    from lycoris.report.run.verdict import study_verdicts
    from lycoris.report.shared.json_data import replace_nonfinite

    payload = report_payload(header, outcome, commit=registration.commit)
    page = write_report(registration.context, payload, registration.folder / "report.html")
    inputs = report_inputs(payload)
    write_if_changed(page.parent, "study.json", inputs, lambda: write_study(payload, page.parent / "study.json"))
    table = write_scores_table(outcome, page.parent / "scores.csv", score_costs=score_costs)
    publish_study(outcome, page, table)
    verdicts = [asdict(verdict) for verdict in study_verdicts(replace_nonfinite(payload))]
    return {**result_summary(outcome, page, time.monotonic() - started), "verdicts": verdicts}


def _open_study(context: RunContext, experiment: Experiment, version: DataVersion, chosen: list[str]) -> StudyRun:
    """Create or reopen the study's run in MLflow; what was chosen to fit a card is no part of its key."""
    settings = experiment.model_dump(mode="json", exclude={"concepts", *EXECUTION_FIELDS})
    settings["sampling"] = asdict(experiment.sampling_settings())
    with Store(context.store).lock(stage_key("registry", {})):  # experiments are looked up before they are created
        server = tracking_server(experiment.output)
        key = stage_key("study", settings)
        fit = {"fit": {"card": experiment.fit, "choice": " ".join(chosen)}} if chosen else {}
        return open_study(server, experiment.name, key, {**settings, **fit}, version)
