"""The main job: version the data, caption, train, draw, score, log and register, then report.

Data goes one way: data -> captions -> adapter -> images -> features -> scores -> ranks -> report. Every step
is a Prefect task that finds its own finished work by content key, so that a run which died, or a study that
grew by one concept, does only what is new.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.exceptions import UpstreamTaskError

from flows.config import defaults
from flows.config.experiment import EXECUTION_FIELDS, Experiment
from flows.runtime.prefect_server import RESUME_HINT
from flows.runtime.task_runner import create_task_runner, has_requested_task_runner, process_runner, worker_count
from flows.steps import outcomes
from flows.steps.batching import co_training_groups
from flows.steps.grid import PlannedRun, base_prompts, expand_grid, training_requests
from lycoris.cache.store import Store, stage_key
from lycoris.data.concepts import load_concepts
from lycoris.errors import InputError
from lycoris.metrics.resize_modes import label_with_mode, merge_modes, metrics_in_mode
from tasks.artifacts import Artifact, CaptionedConcept, RunContext, RunSpec
from tasks.caption import caption_concepts
from tasks.contact_sheet import contact_sheet
from tasks.data_versions.revisions import data_version
from tasks.export import export_adapter
from tasks.generate import generate_images, image_records
from tasks.promote import choose_champion
from tasks.report import write_report
from tasks.runtime import prefect_retries, progress
from tasks.runtime.model_refs import ModelRefs, resolve_models
from tasks.runtime.transfer import ensure_local, publish_images
from tasks.score import compute_scores, extract_features
from tasks.tracking import runs
from tasks.tracking.registry import set_challenger
from tasks.train import ADAPTER_FILE, co_train_adapters, train_adapter

PROJECT_ROOT = Path(__file__).resolve().parent.parent
BASE_LABEL = "base"


def customize_flow(experiment: Experiment) -> Callable[..., dict[str, Any]]:
    """The flow on the task runner that the experiment names."""
    return customize.with_options(task_runner=create_task_runner(experiment, progress.progress_dir(experiment.output)))


@flow(name="customize", task_runner=process_runner(2))
def customize(experiment: Experiment = Experiment(), promote: bool = True) -> dict[str, Any]:  # noqa: B008 - frozen
    """Customize a base to every chosen concept, in every chosen way, and say what each way did.

    Args:
        experiment: what to do; `flows.config.experiment.Experiment` tells every option.
        crowned: whether the best adapter of a concept becomes its champion; if not, its challenger.

    Returns:
        ``{"report", "data_version", "seconds", "adapters": [...]}``, as `lycoris run --json` prints it.

    Raises:
        InputError: something in the experiment or in the data is wrong.
    """
    if not has_requested_task_runner(experiment):  # a deployment starts the flow before anybody has read its parameters
        return customize_flow(experiment)(experiment, promote)
    started = time.monotonic()
    store = Store(experiment.output / "store")
    store.remove_stale()
    seen = progress.progress_dir(experiment.output)
    place = RunContext(
        store.root.resolve(), seen, artifact_store=experiment.artifact_store, gpu_limit=experiment.gpu_limit
    )
    version = data_version(experiment.data, PROJECT_ROOT, experiment.data_rev, experiment.output / "data")
    log_line(f"data      {version.path} is version {version.hash}, {version.files} files")
    concepts = load_concepts(
        version.path, experiment.concepts_file, on_message=lambda text: log_line(f"data      {text}")
    )
    names = experiment.select_concepts([concept.name for concept in concepts])
    models = resolve_models(**experiment.model_sources())
    with progress.display(seen) as shown, prefect_retries.report_retries(seen):
        caption = (
            caption_concepts.submit if experiment.artifact_store is None else caption_concepts
        )  # which read the data, here
        asked = caption(
            place,
            data=version.path,
            concepts_file=experiment.concepts_file,
            names=names,
            tagger=models.tagger,
            captioner=models.captioner,
            **experiment.caption_options(),
        )
        captioned = asked.result() if experiment.artifact_store is None else asked
        planned = expand_grid(experiment, captioned)
        own = (
            2 if experiment.images.of("train") else 1
        )  # the base's drawings of a strategy's captions, and their features
        sentences = len(captioned) if models.captioner is not None and experiment.captioner != "sidecar" else 0
        trained = sum(one.spec.checkpoint is None for one in planned)
        modes = len(experiment.resize_modes)
        once = len(concepts) + sentences + len(captioned) * (1 + modes + own * len(experiment.strategies))
        together = _co_training_groups(experiment, [one.spec for one in planned])
        groups_of_some = sum(len(group) > 1 for group in together)
        shown.set_total(once + trained + (2 + modes) * len(planned) + groups_of_some)
        work = _submit(place, experiment, models, captioned, planned, together)
        outcome = _collect(place, experiment, version, models, captioned, planned, work, promote)
        study = outcomes.report_payload(
            experiment, version, models, captioned, outcome, time.monotonic() - started, project=PROJECT_ROOT
        )
        page = write_report(place, study, experiment.output / experiment.name / "report.html")
    outcomes.write_study(study, page.parent / "study.json")
    table = outcomes.write_scores_table(outcome, page.parent / "scores.csv", score_costs=experiment.score_costs)
    runs.close_study(outcome.server, outcome.parent_run, page, table)
    seconds = time.monotonic() - started
    log_line(f"report    {page}   ({seconds:.0f} s)")
    return outcomes.result_summary(outcome, page, version, seconds)


def _co_training_groups(experiment: Experiment, cells: list[RunSpec]) -> list[list[RunSpec]]:
    """The trainings in groups that go on at once: unless asked for, only where one process has it all to do.

    Where every core has a process, one adapter a process is as quick (`docs/benchmarks.md`).
    """
    ends = [(cell.algorithm, cell) for cell in cells if cell.checkpoint is None]
    count = worker_count(experiment)
    alone = count > 1 or experiment.artifact_store is not None
    most = experiment.co_train or (1 if alone else defaults.default_co_train(experiment.base))
    return co_training_groups(ends, most, count)


def _submit(
    place: RunContext,
    experiment: Experiment,
    models: ModelRefs,
    captioned: list[CaptionedConcept],
    planned_runs: list[PlannedRun],
    together: list[list[RunSpec]],
) -> dict[Any, Any]:
    """Hand every step to the task runner; each waits only for the steps that it needs.

    Returns:
        Futures by (what, cell).
    """
    base, base_digest = models.base
    draw: dict[str, Any] = {"base": base, "base_digest": base_digest, "sampling": experiment.sampling_settings()}
    look: dict[str, Any] = {"encoders": models.encoders, "style_encoder": models.style_encoder, "tagger": models.tagger}
    work: dict[Any, Any] = {}
    sent = {concept.name: publish_images(place, concept.images) for concept in captioned}
    asked = training_requests(experiment, base, base_digest, planned_runs, sent)
    for group in together:
        label = f"{group[0].algorithm} · {', '.join(dict.fromkeys(cell.concept for cell in group))}"
        first = [co_train_adapters.submit(place, label, [asked[cell] for cell in group])] if len(group) > 1 else []
        for cell in group:
            work["together", cell] = first
            work["adapter", cell] = train_adapter.submit(place, **asked[cell], wait_for=first)
    for concept in captioned:
        name = concept.name
        for mode in experiment.resize_modes:
            work["references", name, mode] = extract_features.submit(
                place, label_with_mode(f"{name} · references", mode, experiment.resize_modes), pictures=concept.images,
                digest=concept.images_digest, category=concept.category, mode=mode,
                sent=sent[name], **look,
            )  # fmt: skip
        shared, own = base_prompts(concept, experiment.strategies)
        common = generate_images.submit(place, f"{name} · {BASE_LABEL}", adapter=None, prompts=shared, **draw)
        for strategy, prompts in own.items():
            label = f"{name} · {BASE_LABEL} · {strategy}"
            drawings = [common]
            if prompts:
                drawings.append(generate_images.submit(place, label, adapter=None, prompts=prompts, **draw))
            work[BASE_LABEL, name, strategy] = drawings
            work["seen", name, strategy] = extract_features.submit(
                place, label, made=drawings, category=concept.category, names=concept.names, **look
            )
    for cell, concept, _ in planned_runs:
        label, training = cell.label, work["adapter", replace(cell, checkpoint=None)]
        work["images", cell] = generate_images.submit(
            place,
            label,
            adapter=training,
            checkpoint=cell.checkpoint,
            prompts=concept.prompts[cell.strategy],
            **draw,
        )
        seen = extract_features.submit(
            place, label, made=[work["images", cell]], category=concept.category, names=concept.names, **look
        )
        references = [work["references", concept.name, mode] for mode in experiment.resize_modes]
        base_seen = work["seen", concept.name, cell.strategy]
        for mode, known in zip(experiment.resize_modes, references, strict=True):
            work["scores", cell, mode] = compute_scores.submit(
                place,
                label_with_mode(label, mode, experiment.resize_modes),
                references=known,
                drawings=seen,
                base=base_seen,
                category=concept.category,
                metrics=metrics_in_mode(mode, experiment.resize_modes),
            )
        base_drawn = work[BASE_LABEL, concept.name, cell.strategy]
        group = work["together", replace(cell, checkpoint=None)]
        work["needs", cell] = [*references, *base_drawn, base_seen, *group, training, work["images", cell], seen]
    return work


def _collect(
    place: RunContext,
    experiment: Experiment,
    version: Any,
    models: ModelRefs,
    captioned: list[CaptionedConcept],
    planned_runs: list[PlannedRun],
    work: Mapping[Any, Any],
    promote: bool,
) -> outcomes.StudyOutcome:
    """Log each adapter as its scores come in, then crown a champion for each concept, or name its challenger."""
    server = runs.tracking_server(experiment.output)
    settings = experiment.model_dump(mode="json", exclude={"concepts", *EXECUTION_FIELDS})
    settings["sampling"] = experiment.sampling_settings()
    store = Store(place.store)
    with store.lock(stage_key("registry", {})):  # experiments and studies are looked for before they are made
        parent = runs.open_study(server, experiment.name, stage_key("study", settings), settings, version)
    outcome = outcomes.StudyOutcome(server, parent)
    folder = experiment.output / experiment.name
    (folder / "sheets").mkdir(parents=True, exist_ok=True)
    commit = outcomes.code_commit(PROJECT_ROOT)
    for concept in captioned:
        for strategy in experiment.strategies:
            drawings = [_result_or_error(future) for future in work[BASE_LABEL, concept.name, strategy]]
            outcome.base_images[concept.name, strategy] = [
                ensure_local(place, one) for one in drawings if isinstance(one, Artifact)
            ]
    for cell, concept, chosen in planned_runs:
        try:
            made = ensure_local(
                place, work["adapter", replace(cell, checkpoint=None)].result().at_checkpoint(cell.checkpoint)
            )
            pictures = ensure_local(place, work["images", cell].result())
            scored = merge_modes({mode: work["scores", cell, mode].result() for mode in experiment.resize_modes})
        except Exception as error:
            outcome.failures[cell] = _root_cause(error, work["needs", cell])
            log_line(f"failed    {cell.label}: {outcome.failures[cell]}")
            continue
        facts = outcomes.read_training_summary(made)
        lineage = {
            "base_digest": models.base[1],
            "data_version": version.hash,
            "commit": commit,
            "captions_list": json.dumps(concept.captions[cell.strategy], ensure_ascii=False),
        }
        file = folder / "adapters" / f"{cell.name}.safetensors"
        export_adapter(made.folder / ADAPTER_FILE, file, scores=scored.records, lineage=lineage)
        sheet = contact_sheet(concept.images, image_records(pictures), folder / "sheets" / f"{cell.name}.png")
        mark = stage_key("tracking", {"adapter": made.key, "images": pictures.key, "scores": scored.key})
        with store.lock(mark):
            tracked = runs.track_adapter(
                server,
                experiment.name,
                parent,
                mark,
                cell,
                settings=chosen,
                facts=facts,
                curves=outcomes.training_curves(facts),
                samples=outcomes.sample_images(made, facts),
                scores=scored.records,
                captions=outcomes.caption_rows(concept, cell.strategy),
                adapter=file,
                grid=sheet,
                base=models.base[0],
                version=version,
                lineage={"base.digest": models.base[1], "commit": commit, "adapter.key": made.key},
            )
        outcome.runs[cell] = outcomes.RunOutcome(concept, made, pictures, scored, file, facts, chosen, tracked)
    for concept in captioned:
        mine = {cell: one for cell, one in outcome.runs.items() if cell.concept == concept.name}
        choice = choose_champion(
            concept.name,
            {cell.name: one.scores.records for cell, one in mine.items()},
            {cell.name: one.file.stat().st_size for cell, one in mine.items()},
        )
        if choice is not None:
            winner = next(cell for cell in mine if cell.name == choice.adapter)
            number = mine[winner].logged_run.version
            set_challenger(server, concept.name, number)
            if promote and not runs.promote_to_champion(server, concept.name, number, choice.reason):
                log_line(f"registry  {concept.name}: version {number} was taken back before and is not crowned again")
            outcome.choices[concept.name] = choice
    return outcome


def _root_cause(error: Exception, needed: list[Any]) -> str:
    """What went wrong first among the steps that a failed one needed, in the words of its error."""
    for future in needed:
        found = _result_or_error(future)
        if isinstance(found, Exception) and not isinstance(found, UpstreamTaskError):
            error = found
            break
    if "scheduler-connection-lost" in str(error):
        return f"The connection to the Dask scheduler was lost. {RESUME_HINT}"
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _result_or_error(future: Any) -> Any:
    """What a step made, or the error that it, or the cluster that was to do it, ended with."""
    try:
        return future.result(raise_on_failure=False)
    except Exception as error:
        return error


def log_line(text: str) -> None:
    """One line to the person who started the flow."""
    print(text, file=sys.stderr, flush=True)
