"""A page for reviewing the captions of a folder of images."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flows.config.concepts import DataConcepts
from flows.config.experiment import Experiment
from flows.config.model_notes import model_notes
from flows.config.preflight import validate_caption_models
from flows.steps.requests import caption_request, census_messages
from lycoris.cache.store import Store
from lycoris.captions.sidecar import write_sidecar_tags
from lycoris.captions.statistics import caption_statistics
from lycoris.captions.token_limits import token_limit
from lycoris.data.concepts import load_concepts
from lycoris.data.folders import absolute_path
from lycoris.report.captions.page import CaptionSources, ConceptSection, render
from lycoris.terms import SENTENCE_STRATEGIES
from tasks.artifacts import RunContext
from tasks.caption import CaptionResult, captioned_by, load_templates, write_captions
from tasks.data_versions.manifest import build_manifest, manifest_hash
from tasks.models import resolve_captioner, resolve_tagger
from tasks.runtime import resources


def write_caption_page(experiment: Experiment, out: Path, *, write_tags: bool = False) -> dict[str, Any]:
    """Caption every image of a folder under each strategy and write a page that shows the captions.

    Args:
        experiment: Its data, concepts, tagger, captioner, base, templates and strategies apply.
        write_tags: Write the tags of each image that has no tag file into one beside it, for editing.

    Returns:
        ``{"page", "notes", "written", "data_version", "captioned_by", "classes": [{"name", "inherent", "pictures":
        [{"path", "tags", "captions"}]}]}``.

    Raises:
        InputError: The data or the experiment is invalid.
    """
    validate_caption_models(experiment)
    templates = load_templates(experiment.base, experiment.templates)
    context = RunContext(Store(experiment.output / "store").root.resolve())
    sources = experiment.model_sources()
    thresholds, vocabulary = experiment.thresholds, experiment.vocabulary
    tagger = None if sources["tagger"] is None else resolve_tagger(sources["tagger"], thresholds, vocabulary)
    captioner = resolve_captioner(sources["captioner"], sources["instruction"])
    names = None if experiment.concepts == ("all",) else experiment.concepts
    concepts = DataConcepts(tuple(load_concepts(experiment.data, experiment.concepts_file)), names)
    request = caption_request(experiment.with_captions(experiment.captions), concepts, tagger, captioner)
    request = replace(request, tagger=tagger)  # the page is about tags, whichever captions are asked for
    results = write_captions(context, request, templates)
    tokenizer = resources.cached_tokenizers(experiment.base, experiment.base_options())["tokenizer"]
    max_tokens = token_limit(tokenizer, experiment.max_token_length)
    sections = [
        ConceptSection(
            result.concept,
            result.tags,
            result.concept_tags,
            result.captions,
            caption_statistics(result.tags, result.captions, tokenizer, max_tokens),
            result.messages,
        )
        for result in results
    ]
    page_notes = model_notes(experiment, [result.concept.name for result in results], about_base=False, shows_tags=True)
    title = f"Captions of {absolute_path(experiment.data).name}"
    files = "the caption files"
    page_sources = CaptionSources(
        sources["tagger"] or files,
        experiment.base,
        max_tokens,
        (sources["captioner"] or files) if SENTENCE_STRATEGIES.intersection(experiment.strategies) else None,
        None if captioner is None else captioner.prompt,
        manifest_hash(build_manifest(experiment.data)[0]),
        page_notes,
    )
    render(sections, out, title=title, sources=page_sources)
    written = [
        file
        for result in (results if write_tags else [])
        for file in write_sidecar_tags(
            [image.path for image in result.concept.images], result.tags, experiment.data.absolute()
        )
    ]
    return {
        "page": str(out.resolve()),
        "notes": [
            *page_notes,
            *census_messages(experiment, experiment.data, request.concepts),
            *(message for result in results for message in result.messages),
        ],
        "written": [str(file) for file in written],
        "data_version": page_sources.data_version,
        "captioned_by": {strategy: captioned_by(request, strategy) for strategy in experiment.strategies},
        "classes": [_concept_record(result) for result in results],
    }


def _concept_record(result: CaptionResult) -> dict[str, Any]:
    return {
        "name": result.concept.name,
        "category": result.concept.category,
        "trigger": result.concept.trigger,
        "inherent": [asdict(tag) for tag in result.concept_tags],
        "pictures": [
            {
                "path": image.relative_path,
                "tags": result.tags[index],
                "captions": {strategy: captions[index] for strategy, captions in result.captions.items()},
            }
            for index, image in enumerate(result.concept.images)
        ],
    }
