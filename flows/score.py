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

from flows.config.scoring import Given, Scoring, concepts_of, identify, said
from flows.runtime.task_runner import processes, workers
from flows.steps import outcomes
from lycoris.cache.store import Store, key
from lycoris.data.concepts import Concept
from lycoris.errors import InputError
from lycoris.safety.redaction import redacted
from tasks.artifacts import Captioned, Place, Trained
from tasks.caption import captions
from tasks.generate import drawn, images
from tasks.ingest import given_adapter, given_images
from tasks.report import report
from tasks.runtime import progress
from tasks.runtime.model_refs import Sources, sources
from tasks.score import differences, features, scores

Prompts = Mapping[str, Any]


def score_with(request: Scoring) -> dict[str, Any]:
    """The flow on as many worker processes as the machine has cores, or one beside a GPU."""
    experiment = request.experiment.model_copy(update={"runner": "processes"})
    return score.with_options(task_runner=processes(workers(experiment)))(request)


@flow(name="score", task_runner=processes(2))
def score(request: Scoring) -> dict[str, Any]:
    """Score adapter files and folders of pictures beside their base, and two of one concept beside each other.

    Returns:
        ``{"report", "base", "seconds", "adapters": [...], "differences": [...]}``, as `lycoris score --json` prints it.

    Raises:
        InputError: something that was given is wrong.
    """
    started = time.monotonic()
    experiment = request.experiment
    store = Store(experiment.output / "store")
    store.sweep()
    seen = progress.folder(experiment.output)
    place = Place(store.root.resolve(), seen, slot=experiment.gpu_limit)
    known = concepts_of(request, notice=lambda text: said(f"data      {text}"))
    given = [identify(file, request, known) for file in request.files]
    models = sources(**experiment.sources())
    with progress.shown(seen):
        captioned = {
            each.name: each
            for each in captions(
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
                on_bad_picture=experiment.on_bad_picture,
            )
        }
        work = _start(place, request, models, known, captioned, given)
        entries = [_entry(each, work) for each in given]
        pairs = _pairs(place, request, captioned, given, work)
        study = _study(request, models, captioned, given, entries, work, time.monotonic() - started)
        name = f"score-{key('score', {'files': [str(file) for file in request.files]})[:8]}"
        page = report(place, study, experiment.output / name / "report.html")
    return {
        "report": str(page.resolve()),
        "base": experiment.base,
        "seconds": round(time.monotonic() - started, 1),
        "adapters": [
            {name: entry[name] for name in ("file", "concept", "scores", "error") if name in entry} for entry in entries
        ],
        "differences": pairs,
    }


def _start(
    place: Place,
    request: Scoring,
    models: Sources,
    known: Mapping[str, Concept],
    captioned: Mapping[str, Captioned],
    given: list[Given],
) -> dict[Any, Any]:
    """Hand every step to the task runner; futures and stages by (what, file)."""
    from lycoris.captions import default_templates, read_pictures, read_prompts

    experiment = request.experiment
    base, base_digest = models.base
    templates = default_templates(base)
    seed = experiment.sampling.seed
    draw: dict[str, Any] = {"base": base, "base_digest": base_digest, "sampling": experiment.drawing()}
    look: dict[str, Any] = {
        "encoders": models.encoders, "style_encoder": models.style_encoder, "tagger": models.tagger,
        "raters": request.raters, "mode": request.mode,
    }  # fmt: skip
    work: dict[Any, Any] = {}
    for each in given:
        concept = captioned[each.concept]
        prompts: Prompts = concept.prompts[each.strategy]
        if each.file.is_dir():
            pictures, own = read_pictures(each.file, known[each.concept], seed=seed, templates=templates)
            prompts = _records(own)
            work["images", each] = given_images.submit(place, each.name, pictures=pictures, prompts=prompts)
        else:
            if request.prompts is not None:
                asked = read_prompts(
                    request.prompts, known[each.concept], each=request.each, seed=seed, templates=templates
                )
                prompts = _records(asked)
            adapter = given_adapter(place, each.file)
            work["images", each] = images.submit(place, each.name, adapter=Trained(adapter), prompts=prompts, **draw)
        beside = f"{each.name} · base"
        work["base", each] = images.submit(place, beside, adapter=None, prompts=prompts, **draw)
        category = concept.category
        about: dict[str, Any] = {"category": category, "names": concept.names}
        work["references", each] = features.submit(
            place, f"{concept.name} · references", pictures=concept.pictures, digest=concept.digest, category=category,
            **{**look, "raters": ()},
        )  # fmt: skip
        work["seen", each] = features.submit(place, each.name, made=[work["images", each]], **about, **look)
        work["base seen", each] = features.submit(place, beside, made=[work["base", each]], **about, **look)
        work["scores", each] = scores.submit(
            place, each.name, references=work["references", each], drawings=work["seen", each],
            base=work["base seen", each], category=category, metrics=request.metrics,
        )  # fmt: skip
    return work


def _records(prompts: Mapping[str, list[Any]]) -> dict[str, tuple[dict[str, Any], ...]]:
    return {kind: tuple(asdict(prompt) for prompt in some) for kind, some in prompts.items()}


def _entry(each: Given, work: Mapping[Any, Any]) -> dict[str, Any]:
    """One file's part of the report; an error in place of the scores where there are none."""
    entry: dict[str, Any] = {
        "name": each.name,
        "concept": each.concept,
        "algorithm": each.header.get("lycoris.algorithm", "pictures" if each.file.is_dir() else "given"),
        "captions": each.strategy,
        "seed": int(each.header["seed"]) if each.header.get("seed", "").isdigit() else 0,
        "file": str(each.file),
    }
    if each.file.is_file():
        entry["bytes"] = each.file.stat().st_size
    try:
        scored = work["scores", each].result()
        entry["drawings"] = drawn(work["images", each].result())
    except Exception as error:
        return {
            **entry,
            "error": _cause(error, [work[what, each] for what in ("images", "base", "references", "seen")]),
        }
    return {**entry, "scores": {record["name"]: record for record in scored.records}}


def _cause(error: Exception, needed: list[Any]) -> str:
    """What went wrong first among the steps that a failed one needed."""
    for future in needed:
        found = future.result(raise_on_failure=False)
        if isinstance(found, Exception) and not isinstance(found, UpstreamTaskError):
            error = found
            break
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _pairs(
    place: Place, request: Scoring, captioned: Mapping[str, Captioned], given: list[Given], work: Mapping[Any, Any]
) -> list[dict[str, Any]]:
    """What separates every two of one concept that could be scored."""
    found = []
    for first, second in combinations(given, 2):
        if first.concept != second.concept:
            continue
        try:
            told = differences(
                place, f"{first.name} · {second.name}", references=work["references", first].result(),
                first=work["seen", first].result(), second=work["seen", second].result(),
                base=work["base seen", first].result(), category=captioned[first.concept].category,
            )  # fmt: skip
        except Exception as error:
            said(f"failed    {first.name} beside {second.name}: {_cause(error, [])}")
            continue
        by_name = {record["name"]: record for record in told.records}
        found.append({"first": str(first.file), "second": str(second.file), "scores": by_name})
    return found


def _study(
    request: Scoring,
    models: Sources,
    captioned: Mapping[str, Captioned],
    given: list[Given],
    entries: list[dict[str, Any]],
    work: Mapping[Any, Any],
    seconds: float,
) -> dict[str, Any]:
    """What `lycoris.report.render` takes."""
    from lycoris.metrics import describe

    bases = []
    for each, entry in zip(given, entries, strict=True):
        if "error" not in entry:
            bases.append(
                {"concept": each.concept, "captions": each.strategy, "drawings": drawn(work["base", each].result())}
            )
    return {
        "title": "Scores of " + ", ".join(each.name for each in given),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": redacted(" ".join(["lycoris", *sys.argv[1:]])),
        "seconds": seconds,
        "base": {"name": models.base[0], "digest": models.base[1]},
        "settings": json.loads(request.model_dump_json()),
        "hardware": outcomes.hardware(),
        "concepts": [outcomes.concept_record(concept) for concept in captioned.values()],
        "metrics": describe(),
        "bases": bases,
        "adapters": entries,
    }
