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
from flows.config.experiment import WHERE, Experiment
from flows.runtime.prefect_server import GOES_ON
from flows.runtime.task_runner import processes, runner, runs_as_asked, workers
from flows.steps import outcomes
from flows.steps.batching import groups
from flows.steps.grid import Planned, base_prompts, cells, trainings
from lycoris.cache.store import Store, key
from lycoris.data.concepts import read_concepts
from lycoris.errors import InputError
from lycoris.metrics.resize_modes import in_all_modes, named, scored_in
from tasks.artifacts import Captioned, Cell, Made, Place
from tasks.caption import captions
from tasks.contact_sheet import contact_sheet
from tasks.data_versions.revisions import data_version
from tasks.export import export
from tasks.generate import drawn, images
from tasks.promote import ranks
from tasks.report import report
from tasks.runtime import prefect_retries, progress
from tasks.runtime.model_refs import Sources, sources
from tasks.runtime.transfer import at_hand, send
from tasks.score import features, scores
from tasks.tracking import runs
from tasks.tracking.registry import challenge
from tasks.train import FILE, adapter, adapters

PROJECT = Path(__file__).resolve().parent.parent
OF_BASE = "base"


def customize_with(experiment: Experiment) -> Callable[..., dict[str, Any]]:
    """The flow on the task runner that the experiment names."""
    return customize.with_options(task_runner=runner(experiment, progress.folder(experiment.output)))


@flow(name="customize", task_runner=processes(2))
def customize(experiment: Experiment = Experiment(), crowned: bool = True) -> dict[str, Any]:  # noqa: B008 - frozen
    """Customize a base to every chosen concept, in every chosen way, and say what each way did.

    Args:
        experiment: what to do; `flows.config.experiment.Experiment` tells every option.
        crowned: whether the best adapter of a concept becomes its champion; if not, its challenger.

    Returns:
        ``{"report", "data_version", "seconds", "adapters": [...]}``, as `lycoris run --json` prints it.

    Raises:
        InputError: something in the experiment or in the data is wrong.
    """
    if not runs_as_asked(experiment):  # a deployment starts the flow before anybody has read its parameters
        return customize_with(experiment)(experiment, crowned)
    started = time.monotonic()
    store = Store(experiment.output / "store")
    store.sweep()
    seen = progress.folder(experiment.output)
    place = Place(store.root.resolve(), seen, share=experiment.share, slot=experiment.gpu_limit)
    version = data_version(experiment.data, PROJECT, experiment.data_rev, experiment.output / "data")
    said(f"data      {version.path} is version {version.hash}, {version.files} files")
    concepts = read_concepts(version.path, experiment.concepts_file, notice=lambda text: said(f"data      {text}"))
    names = experiment.chosen([concept.name for concept in concepts])
    models = sources(**experiment.sources())
    with progress.shown(seen) as shown, prefect_retries.noted(seen):
        caption = captions.submit if experiment.share is None else captions  # which read the data, here
        asked = caption(
            place,
            data=version.path,
            concepts_file=experiment.concepts_file,
            names=names,
            tagger=models.tagger,
            captioner=models.captioner,
            **experiment.captioning(),
        )
        captioned = asked.result() if experiment.share is None else asked
        planned = cells(experiment, captioned)
        own = 2 if experiment.images.train else 1  # the base's drawings of a strategy's captions, and their features
        sentences = len(captioned) if models.captioner is not None and experiment.captioner != "sidecar" else 0
        trained = sum(one.cell.checkpoint is None for one in planned)
        modes = len(experiment.resize_modes)
        once = len(concepts) + sentences + len(captioned) * (1 + modes + own * len(experiment.strategies))
        together = _together(experiment, [one.cell for one in planned])
        groups_of_some = sum(len(group) > 1 for group in together)
        shown.expect(once + trained + (2 + modes) * len(planned) + groups_of_some)
        work = _start(place, experiment, models, captioned, planned, together)
        outcome = _finish(place, experiment, version, models, captioned, planned, work, crowned)
        study = outcomes.study(
            experiment, version, models, captioned, outcome, time.monotonic() - started, project=PROJECT
        )
        page = report(place, study, experiment.output / experiment.name / "report.html")
    outcomes.write(study, page.parent / "study.json")
    table = outcomes.table(outcome, page.parent / "scores.csv", efficiency=experiment.efficiency)
    runs.close_study(outcome.server, outcome.parent, page, table)
    seconds = time.monotonic() - started
    said(f"report    {page}   ({seconds:.0f} s)")
    return outcomes.summary(outcome, page, version, seconds)


def _together(experiment: Experiment, cells: list[Cell]) -> list[list[Cell]]:
    """The trainings in groups that go on at once: unless asked for, only where one process has it all to do.

    Where every core has a process, one adapter a process is as quick (`docs/benchmarks.md`).
    """
    ends = [(cell.algorithm, cell) for cell in cells if cell.checkpoint is None]
    count = workers(experiment)
    alone = count > 1 or experiment.share is not None
    most = experiment.at_once or (1 if alone else defaults.at_once(experiment.base))
    return groups(ends, most, count)


def _start(
    place: Place,
    experiment: Experiment,
    models: Sources,
    captioned: list[Captioned],
    planned: list[Planned],
    together: list[list[Cell]],
) -> dict[Any, Any]:
    """Hand every step to the task runner; each waits only for the steps that it needs.

    Returns:
        Futures by (what, cell).
    """
    base, base_digest = models.base
    draw: dict[str, Any] = {"base": base, "base_digest": base_digest, "sampling": experiment.drawing()}
    look: dict[str, Any] = {"encoders": models.encoders, "style_encoder": models.style_encoder, "tagger": models.tagger}
    work: dict[Any, Any] = {}
    sent = {concept.name: send(place, concept.pictures) for concept in captioned}
    asked = trainings(experiment, base, base_digest, planned, sent)
    for group in together:
        label = f"{group[0].algorithm} · {', '.join(dict.fromkeys(cell.concept for cell in group))}"
        first = [adapters.submit(place, label, [asked[cell] for cell in group])] if len(group) > 1 else []
        for cell in group:
            work["together", cell] = first
            work["adapter", cell] = adapter.submit(place, **asked[cell], wait_for=first)
    for concept in captioned:
        name = concept.name
        for mode in experiment.resize_modes:
            work["references", name, mode] = features.submit(
                place, named(f"{name} · references", mode, experiment.resize_modes), pictures=concept.pictures,
                digest=concept.digest, category=concept.category, mode=mode,
                sent=sent[name], **look,
            )  # fmt: skip
        shared, own = base_prompts(concept, experiment.strategies)
        common = images.submit(place, f"{name} · {OF_BASE}", adapter=None, prompts=shared, **draw)
        for strategy, prompts in own.items():
            label = f"{name} · {OF_BASE} · {strategy}"
            drawings = [common]
            if prompts:
                drawings.append(images.submit(place, label, adapter=None, prompts=prompts, **draw))
            work[OF_BASE, name, strategy] = drawings
            work["seen", name, strategy] = features.submit(
                place, label, made=drawings, category=concept.category, names=concept.names, **look
            )
    for cell, concept, _ in planned:
        label, training = cell.label, work["adapter", replace(cell, checkpoint=None)]
        work["images", cell] = images.submit(
            place,
            label,
            adapter=training,
            checkpoint=cell.checkpoint,
            prompts=concept.prompts[cell.captions],
            **draw,
        )
        seen = features.submit(
            place, label, made=[work["images", cell]], category=concept.category, names=concept.names, **look
        )
        references = [work["references", concept.name, mode] for mode in experiment.resize_modes]
        base_seen = work["seen", concept.name, cell.captions]
        for mode, known in zip(experiment.resize_modes, references, strict=True):
            work["scores", cell, mode] = scores.submit(
                place,
                named(label, mode, experiment.resize_modes),
                references=known,
                drawings=seen,
                base=base_seen,
                category=concept.category,
                metrics=scored_in(mode, experiment.resize_modes),
            )
        base_drawn = work[OF_BASE, concept.name, cell.captions]
        group = work["together", replace(cell, checkpoint=None)]
        work["needs", cell] = [*references, *base_drawn, base_seen, *group, training, work["images", cell], seen]
    return work


def _finish(
    place: Place,
    experiment: Experiment,
    version: Any,
    models: Sources,
    captioned: list[Captioned],
    planned: list[Planned],
    work: Mapping[Any, Any],
    crowned: bool,
) -> outcomes.Outcome:
    """Log each adapter as its scores come in, then crown a champion for each concept, or name its challenger."""
    server = runs.server(experiment.output)
    settings = experiment.model_dump(mode="json", exclude={"concepts", *WHERE})
    settings["sampling"] = experiment.drawing()
    store = Store(place.store)
    with store.alone(key("registry", {})):  # experiments and studies are looked for before they are made
        parent = runs.open_study(server, experiment.name, key("study", settings), settings, version)
    outcome = outcomes.Outcome(server, parent)
    folder = experiment.output / experiment.name
    (folder / "sheets").mkdir(parents=True, exist_ok=True)
    commit = outcomes.commit(PROJECT)
    for concept in captioned:
        for strategy in experiment.strategies:
            drawings = [_found(future) for future in work[OF_BASE, concept.name, strategy]]
            outcome.bases[concept.name, strategy] = [at_hand(place, one) for one in drawings if isinstance(one, Made)]
    for cell, concept, chosen in planned:
        try:
            made = at_hand(place, work["adapter", replace(cell, checkpoint=None)].result().at(cell.checkpoint))
            pictures = at_hand(place, work["images", cell].result())
            scored = in_all_modes({mode: work["scores", cell, mode].result() for mode in experiment.resize_modes})
        except Exception as error:
            outcome.failed[cell] = _cause(error, work["needs", cell])
            said(f"failed    {cell.label}: {outcome.failed[cell]}")
            continue
        facts = outcomes.facts(made)
        lineage = {
            "base_digest": models.base[1],
            "data_version": version.hash,
            "commit": commit,
            "captions_list": json.dumps(concept.captions[cell.captions], ensure_ascii=False),
        }
        file = folder / "adapters" / f"{cell.name}.safetensors"
        export(made.folder / FILE, file, scores=scored.records, lineage=lineage)
        sheet = contact_sheet(concept.pictures, drawn(pictures), folder / "sheets" / f"{cell.name}.png")
        mark = key("tracking", {"adapter": made.key, "images": pictures.key, "scores": scored.key})
        with store.alone(mark):
            tracked = runs.track(
                server,
                experiment.name,
                parent,
                mark,
                cell,
                settings=chosen,
                facts=facts,
                curves=outcomes.curves(facts),
                samples=outcomes.samples(made, facts),
                scores=scored.records,
                captions=outcomes.caption_rows(concept, cell.captions),
                adapter=file,
                grid=sheet,
                base=models.base[0],
                version=version,
                lineage={"base.digest": models.base[1], "commit": commit, "adapter.key": made.key},
            )
        outcome.cells[cell] = outcomes.CellOutcome(concept, made, pictures, scored, file, facts, chosen, tracked)
    for concept in captioned:
        mine = {cell: one for cell, one in outcome.cells.items() if cell.concept == concept.name}
        choice = ranks(
            concept.name,
            {cell.name: one.scores.records for cell, one in mine.items()},
            {cell.name: one.file.stat().st_size for cell, one in mine.items()},
        )
        if choice is not None:
            winner = next(cell for cell in mine if cell.name == choice.adapter)
            number = mine[winner].tracked.version
            challenge(server, concept.name, number)
            if crowned and not runs.crown(server, concept.name, number, choice.reason):
                said(f"registry  {concept.name}: version {number} was taken back before and is not crowned again")
            outcome.choices[concept.name] = choice
    return outcome


def _cause(error: Exception, needed: list[Any]) -> str:
    """What went wrong first among the steps that a failed one needed, in the words of its error."""
    for future in needed:
        found = _found(future)
        if isinstance(found, Exception) and not isinstance(found, UpstreamTaskError):
            error = found
            break
    if "scheduler-connection-lost" in str(error):
        return f"The connection to the Dask scheduler was lost. {GOES_ON}"
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _found(future: Any) -> Any:
    """What a step made, or the error that it, or the cluster that was to do it, ended with."""
    try:
        return future.result(raise_on_failure=False)
    except Exception as error:
        return error


def said(text: str) -> None:
    """One line to the person who started the flow."""
    print(text, file=sys.stderr, flush=True)
