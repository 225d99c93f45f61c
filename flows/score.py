"""The score flow: score adapter files or folders of images made elsewhere, beside the base that they belong to."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prefect import flow

from flows.config.concepts import DataConcepts
from flows.config.model_notes import model_notes
from flows.config.preflight import validate_scoring
from flows.config.scoring import (
    ScoringConfig,
    ScoringTarget,
    concepts_by_name,
    metrics_without_prompts,
    missing_prompts_note,
    resolve_target,
    token_length_note,
)
from flows.runtime.run_names import flow_run_name
from flows.runtime.task_runner import process_runner, worker_count
from flows.steps.evaluate import Candidate, EvaluationSetup, base_parts, evaluate
from flows.steps.futures import EvaluationFutures, root_cause, submit
from flows.steps.requests import begin_run, caption_request, evaluation_setup
from flows.steps.result_folder import CONTENT, claim_folder, data_content
from flows.steps.score_records import base_records, scored_record, scored_result
from flows.steps.serializers import report_header
from lycoris.cache.integrity import file_digest
from lycoris.cache.keys import stage_key
from lycoris.cache.store import Store
from lycoris.data.concepts import Concept
from lycoris.data.images import list_images
from lycoris.data.prompt_spec import prompts_are_known
from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import CaptionedConcept, ImageSet, Prompts, RunContext
from tasks.caption import caption_concepts
from tasks.compare import compare_adapters
from tasks.ingest import import_adapter, import_images
from tasks.models import resolve_models
from tasks.report import write_report
from tasks.runtime import log_forwarding, progress
from tasks.trainings import TrainedAdapter

if TYPE_CHECKING:
    from lycoris.report.run.schema import StudyRecord

MAX_FOLDER_NAME = 60
"""Characters of the scored files' names in the name of the page's folder."""

logger = logging.getLogger("lycoris.flows.score")


def run_score(request: ScoringConfig) -> dict[str, Any]:
    """Run the flow on as many worker processes as the machine has cores, or on one with a GPU."""
    experiment = request.experiment.model_copy(update={"runner": "processes"})
    return score.with_options(task_runner=process_runner(worker_count(experiment)))(request)


@flow(name="score", flow_run_name=flow_run_name, task_runner=process_runner(2))
@redacting_errors
def score(request: ScoringConfig) -> dict[str, Any]:
    """Score adapter files and folders of images beside their base, and any two of one concept against each other.

    Returns:
        ``{"report", "base", "seconds", "adapters": [...], "differences": [...]}``, as `lycoris score --json` prints it.

    Raises:
        InputError: the request is invalid.
    """
    started = time.monotonic()
    validate_scoring(request)
    experiment = request.experiment
    context = begin_run(experiment)
    known = concepts_by_name(request)
    targets = [resolve_target(file, request, known) for file in request.files]
    for note in filter(None, (token_length_note(target, experiment.max_token_length) for target in targets)):
        logger.warning("%s", note)
    strategies = tuple(dict.fromkeys(target.strategy for target in targets))
    captioning = experiment.with_captions(strategies)
    named = list(dict.fromkeys(target.concept for target in targets))
    for note in model_notes(captioning, named):
        logger.warning("%s", note, extra={"topic": "models"})
    models = resolve_models(**captioning.model_sources())
    with progress.display(progress.progress_dir(experiment.output)), log_forwarding.connected(context.progress):
        captions = caption_request(
            captioning, DataConcepts(tuple(known.values()), tuple(named)), models.tagger, models.captioner
        )
        concepts = {concept.name: concept for concept in caption_concepts(context, captions)}
        folder = _claim_folder(context, request, targets, known, concepts)
        setup = replace(
            evaluation_setup(context, experiment, models),
            models=models.for_evaluation(request.quality_predictors, request.resize_mode),
            resize_modes=(request.resize_mode,),
            metrics=_metrics(request),
            look_alikes=_look_alikes(request),
        )
        candidates = [_candidate(setup, request, known, concepts, target) for target in targets]
        left_out = [metrics_without_prompts(request, one.concept.category, one.prompts) for one in candidates]
        about = map(missing_prompts_note, targets, [one.prompts for one in candidates], left_out)
        notes = [note for note in about if note]
        for note in notes:
            logger.warning("%s", note, extra={"topic": "scores"})
        evaluations = evaluate(setup, candidates)
        entries = [scored_record(target, futures) for target, futures in zip(targets, evaluations, strict=True)]
        differences = _pairwise_differences(setup, targets, candidates, evaluations)
        header = report_header(
            "Scores of " + ", ".join(target.name for target in targets),
            request.model_dump(mode="json"),
            models,
            concepts.values(),
            time.monotonic() - started,
        )
        bases = base_records(targets, entries, evaluations)
        notes = [*model_notes(captioning, named, about_base=False), *notes]
        payload = cast("StudyRecord", {**header, "notes": notes, "bases": bases, "adapters": entries})
        page = write_report(context, payload, folder / "report.html")
    return {
        "report": str(page.resolve()),
        "base": experiment.base,
        "seconds": round(time.monotonic() - started, 1),
        "adapters": [scored_result(entry, own) for entry, own in zip(entries, left_out, strict=True)],
        "differences": differences,
    }


def _metrics(request: ScoringConfig) -> tuple[str, ...] | None:
    """The metrics that are requested, by name or by naming what they need; None for those that are by default."""
    if request.metrics is not None or request.look_alikes is None:
        return request.metrics
    from lycoris.metrics import METRICS

    return (*(name for name, metric in METRICS.items() if metric.by_default), "retrieval_precision")


def _look_alikes(request: ScoringConfig) -> ImageSet | None:
    """The images that look like the concept, if any are given."""
    if request.look_alikes is None:
        return None
    files = tuple(list_images(request.look_alikes, recursive=True))
    return ImageSet(files, stage_key("look_alikes", {"files": [file_digest(file) for file in files]}))


def _claim_folder(
    context: RunContext,
    request: ScoringConfig,
    targets: Sequence[ScoringTarget],
    known: Mapping[str, Concept],
    concepts: Mapping[str, CaptionedConcept],
) -> Path:
    """The folder of the page, named after the scored files."""
    content = data_content(concepts.values(), None)
    parts = {
        **content.parts,
        **{f"content of {target.file}": content_key(target, known[target.concept]) for target in targets},
    }
    names = "-".join(target.name for target in targets)[:MAX_FOLDER_NAME].rstrip(". ")
    settings = request.model_dump(mode="json", exclude={"experiment": {"workers", "runner", "gpu_limit"}})
    with Store(context.store).lock(stage_key("folder", {"name": names})):
        record = {**settings, CONTENT: asdict(replace(content, parts=parts))}
        return claim_folder(request.experiment.output, f"score-{names}", record)


def content_key(target: ScoringTarget, concept: Concept) -> str:
    """Return the hash of an adapter file, or of the images that are scored of a folder, with their captions."""
    from lycoris.captions import read_captioned_images

    if target.file.is_file():
        return stage_key("content", {"files": [file_digest(target.file)]})
    files, prompts = read_captioned_images(target.file, concept)
    images = {kind: [file_digest(file) for file in some] for kind, some in files.items()}
    captions = {kind: [prompt.text for prompt in some] for kind, some in prompts.items()}
    return stage_key("content", {"files": images, "captions": captions})


def _candidate(
    setup: EvaluationSetup,
    request: ScoringConfig,
    known: Mapping[str, Concept],
    concepts: Mapping[str, CaptionedConcept],
    target: ScoringTarget,
) -> Candidate:
    """Import a file or a folder, and find the prompts that the base is to generate as well."""
    from lycoris.captions import read_captioned_images, read_prompts, templates_for_base
    from lycoris.captions.prompt_file import fill_prompts
    from lycoris.data.protocols import protocol_prompts

    templates, seed = templates_for_base(setup.base.source), setup.sampling.seed
    concept = concepts[target.concept]
    prompts: Prompts = concept.prompts[target.strategy]
    adapter = images = None
    if target.file.is_dir():
        files, prompts = read_captioned_images(target.file, known[target.concept], seed=seed, templates=templates)
        images = submit(import_images, setup.context, target.name, files, prompts)
    else:
        if request.protocol is not None:
            name, folder = request.protocol
            prompts = fill_prompts(
                protocol_prompts(name, folder, target.concept),
                known[target.concept],
                images_per_prompt=request.images_per_prompt,
                seed=seed,
                templates=templates,
            )
        if request.prompts is not None:
            prompts = read_prompts(
                request.prompts,
                known[target.concept],
                images_per_prompt=request.images_per_prompt,
                seed=seed,
                templates=templates,
            )
        adapter = TrainedAdapter(import_adapter(setup.context, target.file))
    references = (f"{concept.name} · references", ImageSet(concept.images, concept.images_digest))
    return replace(
        Candidate.of_concept(target.name, concept, target.strategy, references, adapter),
        prompts=prompts,
        base_parts=base_parts(
            {kind: some for kind, some in prompts.items() if prompts_are_known(some)},
            concept.name,
            target.strategy,
        ),
        images=images,
    )


def _pairwise_differences(
    setup: EvaluationSetup,
    targets: Sequence[ScoringTarget],
    candidates: Sequence[Candidate],
    evaluations: Sequence[EvaluationFutures],
) -> list[dict[str, Any]]:
    """Compare every two files of one concept that could be scored."""
    differences = []
    for (first, candidate, futures), (second, _, others) in combinations(
        zip(targets, candidates, evaluations, strict=True), 2
    ):
        if first.concept != second.concept:
            continue
        (references,) = futures.references.values()
        try:
            scores = compare_adapters(
                setup.context,
                f"{first.name} · {second.name}",
                references=references.result(),
                first=futures.features.result(),
                second=others.features.result(),
                base=futures.base.features.result(),
                category=candidate.concept.category,
            )
        except Exception as error:
            text = "%s compared with %s: %s"
            logger.error(text, first.name, second.name, root_cause(error), extra={"topic": "failed"})
            continue
        by_name = {score.name: asdict(score) for score in scores.records}
        differences.append({"first": str(first.file), "second": str(second.file), "scores": by_name})
    return differences
