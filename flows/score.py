"""Scoring what others made: an adapter file or a folder of pictures, beside the base that it belongs to."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from prefect import flow
from prefect.exceptions import UpstreamTaskError

from flows.config.scoring import ScoringConfig, ScoringTarget, concepts_by_name, log_line, resolve_target
from flows.runtime.task_runner import process_runner, worker_count
from flows.steps import outcomes
from lycoris.cache.store import Store, stage_key
from lycoris.data.concepts import Concept
from lycoris.errors import InputError
from lycoris.safety.redaction import redact
from tasks.artifacts import CaptionedConcept, RunContext, TrainedAdapter
from tasks.caption import caption_concepts
from tasks.generate import generate_images, image_records
from tasks.ingest import import_adapter, import_images
from tasks.report import write_report
from tasks.runtime import progress
from tasks.runtime.model_refs import ModelRefs, resolve_models
from tasks.score import compare_adapters, compute_scores, extract_features

Prompts = Mapping[str, Any]


def run_score(request: ScoringConfig) -> dict[str, Any]:
    """The flow on as many worker processes as the machine has cores, or one beside a GPU."""
    experiment = request.experiment.model_copy(update={"runner": "processes"})
    return score.with_options(task_runner=process_runner(worker_count(experiment)))(request)


@flow(name="score", task_runner=process_runner(2))
def score(request: ScoringConfig) -> dict[str, Any]:
    """Score adapter files and folders of pictures beside their base, and two of one concept beside each other.

    Returns:
        ``{"report", "base", "seconds", "adapters": [...], "differences": [...]}``, as `lycoris score --json` prints it.

    Raises:
        InputError: something that was given is wrong.
    """
    started = time.monotonic()
    experiment = request.experiment
    store = Store(experiment.output / "store")
    store.remove_stale()
    seen = progress.progress_dir(experiment.output)
    place = RunContext(store.root.resolve(), seen, gpu_limit=experiment.gpu_limit)
    known = concepts_by_name(request, notice=lambda text: log_line(f"data      {text}"))
    given = [resolve_target(file, request, known) for file in request.files]
    models = resolve_models(**experiment.model_sources())
    with progress.display(seen):
        captioned = {
            each.name: each
            for each in caption_concepts(
                place,
                data=experiment.data,
                concepts_file=experiment.concepts_file,
                names=tuple(dict.fromkeys(each.concept for each in given)),
                tagger=models.tagger,
                captioner=models.captioner,
                base=experiment.base,
                strategies=tuple(dict.fromkeys(each.strategy for each in given)),
                counts=experiment.images.model_dump(),
                seed=experiment.sampling.seed,
                templates_file=experiment.templates,
                on_invalid_image=experiment.on_invalid_image,
            )
        }
        work = _submit(place, request, models, known, captioned, given)
        entries = [_adapter_record(each, work) for each in given]
        pairs = _pairwise_differences(place, request, captioned, given, work)
        study = _report_payload(request, models, captioned, given, entries, work, time.monotonic() - started)
        name = f"score-{stage_key('score', {'files': [str(file) for file in request.files]})[:8]}"
        page = write_report(place, study, experiment.output / name / "report.html")
    return {
        "report": str(page.resolve()),
        "base": experiment.base,
        "seconds": round(time.monotonic() - started, 1),
        "adapters": [
            {name: entry[name] for name in ("file", "concept", "scores", "error") if name in entry} for entry in entries
        ],
        "differences": pairs,
    }


def _submit(
    place: RunContext,
    request: ScoringConfig,
    models: ModelRefs,
    concepts: Mapping[str, Concept],
    captioned: Mapping[str, CaptionedConcept],
    targets: list[ScoringTarget],
) -> dict[Any, Any]:
    """Hand every step to the task runner; futures and stages by (what, file)."""
    from lycoris.captions import read_captioned_images, read_prompts, templates_for_base

    experiment = request.experiment
    base, base_digest = models.base
    templates = templates_for_base(base)
    seed = experiment.sampling.seed
    draw: dict[str, Any] = {"base": base, "base_digest": base_digest, "sampling": experiment.sampling_settings()}
    look: dict[str, Any] = {
        "encoders": models.encoders, "style_encoder": models.style_encoder, "tagger": models.tagger,
        "raters": request.quality_predictors, "mode": request.resize_mode,
    }  # fmt: skip
    work: dict[Any, Any] = {}
    for each in targets:
        concept = captioned[each.concept]
        prompts: Prompts = concept.prompts[each.strategy]
        if each.file.is_dir():
            pictures, own = read_captioned_images(each.file, concepts[each.concept], seed=seed, templates=templates)
            prompts = _prompt_records(own)
            work["images", each] = import_images.submit(place, each.name, pictures=pictures, prompts=prompts)
        else:
            if request.prompts is not None:
                asked = read_prompts(
                    request.prompts,
                    concepts[each.concept],
                    images_per_prompt=request.images_per_prompt,
                    seed=seed,
                    templates=templates,
                )
                prompts = _prompt_records(asked)
            adapter = import_adapter(place, each.file)
            work["images", each] = generate_images.submit(
                place, each.name, adapter=TrainedAdapter(adapter), prompts=prompts, **draw
            )
        beside = f"{each.name} · base"
        work["base", each] = generate_images.submit(place, beside, adapter=None, prompts=prompts, **draw)
        category = concept.category
        about: dict[str, Any] = {"category": category, "names": concept.names}
        work["references", each] = extract_features.submit(
            place, f"{concept.name} · references", pictures=concept.images, digest=concept.images_digest,
            category=category,
            **{**look, "raters": ()},
        )  # fmt: skip
        work["seen", each] = extract_features.submit(place, each.name, made=[work["images", each]], **about, **look)
        work["base seen", each] = extract_features.submit(place, beside, made=[work["base", each]], **about, **look)
        work["scores", each] = compute_scores.submit(
            place, each.name, references=work["references", each], drawings=work["seen", each],
            base=work["base seen", each], category=category, metrics=request.metrics,
        )  # fmt: skip
    return work


def _prompt_records(prompts: Mapping[str, list[Any]]) -> dict[str, tuple[dict[str, Any], ...]]:
    return {kind: tuple(asdict(prompt) for prompt in some) for kind, some in prompts.items()}


def _adapter_record(target: ScoringTarget, work: Mapping[Any, Any]) -> dict[str, Any]:
    """One file's part of the report; an error in place of the scores where there are none."""
    entry: dict[str, Any] = {
        "name": target.name,
        "concept": target.concept,
        "algorithm": target.header.get("lycoris.algorithm", "pictures" if target.file.is_dir() else "given"),
        "captions": target.strategy,
        "seed": int(target.header["seed"]) if target.header.get("seed", "").isdigit() else 0,
        "file": str(target.file),
    }
    if target.file.is_file():
        entry["bytes"] = target.file.stat().st_size
    try:
        scored = work["scores", target].result()
        entry["drawings"] = image_records(work["images", target].result())
    except Exception as error:
        return {
            **entry,
            "error": _root_cause(error, [work[what, target] for what in ("images", "base", "references", "seen")]),
        }
    return {**entry, "scores": {record["name"]: record for record in scored.records}}


def _root_cause(error: Exception, needed: list[Any]) -> str:
    """What went wrong first among the steps that a failed one needed."""
    for future in needed:
        found = future.result(raise_on_failure=False)
        if isinstance(found, Exception) and not isinstance(found, UpstreamTaskError):
            error = found
            break
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _pairwise_differences(
    place: RunContext,
    request: ScoringConfig,
    captioned: Mapping[str, CaptionedConcept],
    targets: list[ScoringTarget],
    work: Mapping[Any, Any],
) -> list[dict[str, Any]]:
    """What separates every two of one concept that could be scored."""
    found = []
    for first, second in combinations(targets, 2):
        if first.concept != second.concept:
            continue
        try:
            told = compare_adapters(
                place, f"{first.name} · {second.name}", references=work["references", first].result(),
                first=work["seen", first].result(), second=work["seen", second].result(),
                base=work["base seen", first].result(), category=captioned[first.concept].category,
            )  # fmt: skip
        except Exception as error:
            log_line(f"failed    {first.name} beside {second.name}: {_root_cause(error, [])}")
            continue
        by_name = {record["name"]: record for record in told.records}
        found.append({"first": str(first.file), "second": str(second.file), "scores": by_name})
    return found


def _report_payload(
    request: ScoringConfig,
    models: ModelRefs,
    captioned: Mapping[str, CaptionedConcept],
    targets: list[ScoringTarget],
    entries: list[dict[str, Any]],
    work: Mapping[Any, Any],
    seconds: float,
) -> dict[str, Any]:
    """What `lycoris.report.render` takes."""
    from lycoris.metrics import describe_metrics

    bases = []
    for each, entry in zip(targets, entries, strict=True):
        if "error" not in entry:
            bases.append(
                {
                    "concept": each.concept,
                    "captions": each.strategy,
                    "drawings": image_records(work["base", each].result()),
                }
            )
    return {
        "title": "Scores of " + ", ".join(each.name for each in targets),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": redact(" ".join(["lycoris", *sys.argv[1:]])),
        "seconds": seconds,
        "base": {"name": models.base[0], "digest": models.base[1]},
        "settings": json.loads(request.model_dump_json()),
        "hardware": outcomes.describe_hardware(),
        "concepts": [outcomes.concept_record(concept) for concept in captioned.values()],
        "metrics": describe_metrics(),
        "bases": bases,
        "adapters": entries,
    }
