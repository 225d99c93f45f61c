"""From a folder of pictures to a page of their captions: what `lycoris captions` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.config.experiment import Experiment
from lycoris.cache.store import Store
from lycoris.captions.sidecar import write_sidecar_tags
from lycoris.captions.statistics import caption_statistics
from lycoris.report.captions.page import ConceptSection, render
from tasks.artifacts import ModelRef, RunContext, TaggerRef
from tasks.caption import CaptionRequest, CaptionResult, load_templates, write_captions
from tasks.runtime import resources


def write_caption_page(experiment: Experiment, out: Path, *, write_tags: bool = False) -> dict[str, Any]:
    """Caption every picture of a folder under each strategy and write a page to look at.

    Args:
        experiment: its data, tagger, captioner, base, templates and strategies count.
        out: the page.
        write_tags: write the tags beside the pictures that have none there, to be edited.

    Returns:
        ``{"page", "notes", "written", "classes": [{"name", "inherent", "pictures": [{"path", "tags", "captions"}]}]}``.

    Raises:
        InputError: something in the data or in the experiment is wrong.
    """
    from lycoris.captions import captioner_digest, tagger_digest

    store = Store(experiment.output / "store")
    names = None if experiment.concepts == ("all",) else experiment.concepts
    thresholds = tuple(sorted((experiment.thresholds or {}).items()))
    digest = tagger_digest(experiment.tagger, experiment.thresholds, experiment.vocabulary)
    captioner = experiment.model_sources()["captioner"]
    request = CaptionRequest(
        data=experiment.data,
        base=experiment.base,
        tagger=TaggerRef(experiment.tagger, digest, thresholds, experiment.vocabulary),
        strategies=experiment.captions,
        captioner=None if captioner is None else ModelRef(captioner, captioner_digest(captioner)),
        concepts_file=experiment.concepts_file,
        names=None if names is None else tuple(names),
        on_invalid_image=experiment.on_invalid_image,
    )
    templates = load_templates(experiment.base, experiment.templates)
    found = write_captions(RunContext(store.root.resolve()), request, templates)
    tokenizer = resources.cached_tokenizers(experiment.base)["tokenizer"]
    window = int(tokenizer.model_max_length)
    sheets = [
        ConceptSection(
            one.concept, one.tags, one.concept_tags, one.captions,
            caption_statistics(one.tags, one.captions, tokenizer, window), one.messages,
        )
        for one in found
    ]  # fmt: skip
    title = f"Captions of {experiment.data.resolve().name}"
    render(sheets, out, title=title, tagger=experiment.tagger, base=experiment.base, token_limit=window)
    written = [
        file
        for one in (found if write_tags else [])
        for file in write_sidecar_tags([picture.path for picture in one.concept.images], one.tags)
    ]
    return {
        "page": str(out.resolve()),
        "notes": [note for one in found for note in one.messages],
        "written": [str(file) for file in written],
        "classes": [_concept_record(one) for one in found],
    }


def _concept_record(one: CaptionResult) -> Mapping[str, Any]:
    return {
        "name": one.concept.name,
        "category": one.concept.category,
        "trigger": one.concept.trigger,
        "inherent": [asdict(entry) for entry in one.concept_tags],
        "pictures": [
            {
                "path": picture.relative_path,
                "tags": one.tags[place],
                "captions": {strategy: texts[place] for strategy, texts in one.captions.items()},
            }
            for place, picture in enumerate(one.concept.images)
        ],
    }
