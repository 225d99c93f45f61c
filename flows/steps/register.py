"""Register the adapters of a study: export their files, log them, and promote the best of each concept."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.steps.finished_step import show_finished
from flows.steps.futures import EvaluationFutures, result_or_error, root_cause
from flows.steps.grid import PlannedRun
from flows.steps.outcomes import RunOutcome, StudyOutcome, caption_rows, prompt_rows, sample_images, training_curves
from lycoris.analysis.decisions.champion_selection import NOT_LEARNED
from lycoris.cache.keys import source_hash, stage_key
from lycoris.cache.outputs import write_if_changed
from lycoris.cache.store import RECORD_FILE, Store
from lycoris.report.contact_sheet import contact_sheet
from tasks.artifacts import Artifact, CaptionedConcept, ModelRef, RunContext, RunSpec
from tasks.export import export_adapter
from tasks.generate import image_files
from tasks.promote import choose_champion, promote
from tasks.runtime.adapter_training import ADAPTER_FILE
from tasks.runtime.transfer import ensure_local
from tasks.score import Scores, combine_modes
from tasks.track import track_adapter
from tasks.tracking.adapter_record import AdapterRun
from tasks.tracking.adapter_runs import LoggedRun, find_logged, is_registered
from tasks.tracking.failures import log_failure
from tasks.tracking.promotion import refuse_promotion, set_challenger
from tasks.tracking.registry import get_champion
from tasks.tracking.runs import StudyRun
from tasks.trainings import TrainingSummary

MAX_EXAMPLE_PROMPTS = 4
"""Prompts recorded with a version, from which its images are generated where it is published."""

logger = logging.getLogger("lycoris.flows.register")


@dataclass(frozen=True)
class Registration:
    """Where and as what adapters are registered.

    Attributes:
        study: its run in MLflow.
        base: model that the adapters belong to.
        folder: of adapter files and contact sheets.
        promote: whether the best adapter of a concept becomes its champion; if not, only its challenger.
    """

    context: RunContext
    study: StudyRun
    base: ModelRef
    folder: Path
    commit: str
    promote: bool


def register_adapters(
    registration: Registration, runs: Sequence[PlannedRun], evaluations: Sequence[EvaluationFutures]
) -> StudyOutcome:
    """Log each adapter as its scores come in, then promote the best adapter of each concept."""
    outcome = StudyOutcome(registration.study)
    logged = find_logged(registration.study)
    for run, futures in zip(runs, evaluations, strict=True):
        outcome.base_images[run.spec.concept, run.spec.strategy] = [
            ensure_local(registration.context, image)
            for image in map(result_or_error, futures.base.images)
            if isinstance(image, Artifact)
        ]
        try:
            outcome.runs[run.spec] = _register(registration, run, futures, logged)
        except _StepFailedError as error:
            outcome.failures[run.spec] = str(error)
            log_failure(registration.study, run.spec, run.settings, str(error))
            logger.error("%s: %s", run.spec.label, error, extra={"topic": "failed"})
    for concept in dict.fromkeys(run.concept.name for run in runs):
        _promote_best(registration, concept, outcome)
    return outcome


class _StepFailedError(Exception):
    """A step of an adapter's evaluation has failed."""


def _register(
    registration: Registration, run: PlannedRun, futures: EvaluationFutures, logged: Mapping[str, LoggedRun]
) -> RunOutcome:
    context, spec, concept = registration.context, run.spec, run.concept
    adapter, images, scores = _results(context, spec, futures)
    summary = TrainingSummary.read(adapter.folder)
    file = registration.folder / "adapters" / f"{spec.name}.safetensors"
    captions = json.dumps(concept.captions[spec.strategy], ensure_ascii=False)
    data_version = registration.study.data_version.hash
    lineage = {
        "base_digest": registration.base.digest,
        "data_version": data_version,
        "commit": registration.commit,
        "captions_list": captions,
        **concept.captioned_by.get(spec.strategy, {}),
    }
    write_if_changed(
        registration.folder,
        f"adapters/{file.name}",
        {"adapter": adapter.key, "scores": scores.key, "lineage": lineage},
        lambda: export_adapter(adapter.folder / ADAPTER_FILE, file, scores=scores.records, lineage=lineage),
    )
    sheet = registration.folder / "sheets" / f"{spec.name}.png"
    write_if_changed(
        registration.folder,
        f"sheets/{sheet.name}",
        {"references": concept.images_digest, "images": images.key, "code": source_hash("report/contact_sheet.py")},
        lambda: contact_sheet(concept.images, image_files(images), sheet),
    )
    key = stage_key("tracking", {"adapter": adapter.key, "images": images.key, "scores": scores.key})
    adapter_run = AdapterRun(
        key=key,
        spec=spec,
        settings=run.settings,
        summary=summary,
        curves=training_curves(summary),
        samples=sample_images(adapter, summary),
        scores=scores.records,
        captions=caption_rows(concept, spec.strategy),
        prompts=prompt_rows(concept, spec.strategy),
        file=file,
        contact_sheet=sheet,
        base=registration.base,
        trained_at=(adapter.folder / RECORD_FILE).stat().st_mtime,
        lineage={
            "base.digest": registration.base.digest,
            "commit": registration.commit,
            "adapter.key": adapter.key,
            **concept.captioned_by.get(spec.strategy, {}),
            "trigger": concept.trigger,
            "prompts": json.dumps(_example_prompts(concept, spec.strategy), ensure_ascii=False),
        },
    )
    own = logged.get(key)
    if own is not None and is_registered(registration.study, adapter_run, own):
        show_finished(track_adapter, own, (registration.study, adapter_run), {})
    else:
        with Store(context.store).lock(key):
            own = track_adapter(registration.study, adapter_run)
    return RunOutcome(concept, adapter, images, scores, file, summary, run.settings, own)


def _example_prompts(concept: CaptionedConcept, strategy: str) -> list[str]:
    """Some prompts that the concept is scored with: the trigger alone, and new situations."""
    prompts = concept.prompts[strategy]
    texts = (prompt.text for kind in ("trigger", "alter") for prompt in prompts.get(kind, ()))
    return list(dict.fromkeys(texts))[:MAX_EXAMPLE_PROMPTS]


def _results(context: RunContext, spec: RunSpec, futures: EvaluationFutures) -> tuple[Artifact, Artifact, Scores]:
    """Wait for an adapter, its images and its scores."""
    try:
        if futures.training is None:
            raise ValueError(f"Adapter `{spec.label}` is not trained by this flow.")
        adapter = ensure_local(context, futures.training.adapter.result().at_checkpoint(spec.checkpoint))
        images = ensure_local(context, futures.images.result())
        scores = combine_modes({mode: future.result() for mode, future in futures.scores.items()})
    except Exception as error:
        raise _StepFailedError(root_cause(error, futures.upstream)) from error
    return adapter, images, scores


def _promote_best(registration: Registration, concept: str, outcome: StudyOutcome) -> None:
    """Choose the best adapter of a concept; make it its challenger, and its champion if it has learned the concept."""
    server = registration.study.server
    runs = {spec.name: run for spec, run in outcome.runs.items() if spec.concept == concept}
    best = choose_champion(
        concept,
        {name: run.scores.records for name, run in runs.items()},
        {name: run.file.stat().st_size for name, run in runs.items()},
    )
    if best is None:
        return
    version = runs[best.adapter].logged_run.version
    set_challenger(server, concept, version)
    outcome.choices[concept] = best
    if not best.beats_base:
        _refuse(registration, concept, version)
    elif registration.promote:
        _report_replacement(registration, concept, version)
        if not promote(server, concept, version, best.reason):
            text = "%s: version %s was rejected before and is not promoted again"
            logger.warning(text, concept, version, extra={"topic": "registry"})


def _refuse(registration: Registration, concept: str, version: str) -> None:
    """Do not make the best adapter of a concept its champion; record why, and say it where it would become one."""
    before = get_champion(registration.study.server, concept)
    if before is not None and before.version == version:  # promoted by a person, or by an earlier release
        return
    refuse_promotion(registration.study.server, concept, version, NOT_LEARNED)
    if not registration.promote:
        return
    logger.warning(
        "%s: version %s is stored, but not as the version to use; it does not become champion: %s; %s",
        concept,
        version,
        NOT_LEARNED,
        f"`lycoris pull {concept}@challenger` fetches it"
        if before is None
        else f"version {before.version} stays champion",
        extra={"topic": "registry"},
    )


def _report_replacement(registration: Registration, concept: str, version: str) -> None:
    """Say that a champion that was trained on other data, or on another base, is about to be replaced."""
    before = get_champion(registration.study.server, concept)
    if before is None or before.version == version:
        return
    other_data = before.data_version != registration.study.data_version.hash
    if other_data or before.base_digest != registration.base.digest:
        logger.warning(
            "%s: version %s replaces champion %s, which was trained on %s; `lycoris rollback %s` returns to it",
            concept,
            version,
            before.version,
            "other data" if other_data else f"another base, {before.base}",
            concept,
            extra={"topic": "registry"},
        )
