"""From a folder of pictures to a page of their captions: what `lycoris captions` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flows.config.experiment import Experiment
from lycoris.cache.store import Store
from lycoris.captions.sidecar import write_sidecars
from lycoris.captions.statistics import statistics
from lycoris.report.captions.page import Sheet, render
from tasks.artifacts import Eyes, Place
from tasks.caption import Written, wording, write
from tasks.runtime import resources


def caption_folder(
    experiment: Experiment, out: Path, *, names: Sequence[str] | None = None, write_tags: bool = False
) -> dict[str, Any]:
    """Caption every picture of a folder under each strategy and write a page to look at.

    Args:
        experiment: its data, tagger, captioner, base, templates and strategies count.
        out: the page.
        names: classes to show; None for all.
        write_tags: write the tags beside the pictures that have none there, to be edited.

    Returns:
        ``{"page", "notes", "written", "classes": [{"name", "inherent", "pictures": [{"path", "tags", "captions"}]}]}``.

    Raises:
        InputError: something in the data or in the experiment is wrong.
    """
    from lycoris.captions import captioner_digest, tagger_digest

    store = Store(experiment.output / "store")
    thresholds = tuple(sorted((experiment.thresholds or {}).items()))
    digest = tagger_digest(experiment.tagger, experiment.thresholds, experiment.vocabulary)
    captioner = experiment.sources()["captioner"]
    found = write(
        Place(store.root.resolve()), data=experiment.data, concepts_file=experiment.concepts_file, names=names,
        tagger=Eyes(experiment.tagger, digest, thresholds, experiment.vocabulary),
        captioner=None if captioner is None else (captioner, captioner_digest(captioner)),
        base=experiment.base, strategies=experiment.captions,
        templates=wording(experiment.base, experiment.templates), stop=experiment.on_bad_picture == "stop",
    )  # fmt: skip
    tokenizer = resources.tokenizers(experiment.base)["tokenizer"]
    window = int(tokenizer.model_max_length)
    sheets = [
        Sheet(
            one.concept, one.tags, one.inherent, one.captions,
            statistics(one.tags, one.captions, tokenizer, window), one.notes,
        )
        for one in found
    ]  # fmt: skip
    title = f"Captions of {experiment.data.resolve().name}"
    render(sheets, out, title=title, tagger=experiment.tagger, base=experiment.base, window=window)
    written = [
        file
        for one in (found if write_tags else [])
        for file in write_sidecars([picture.path for picture in one.concept.pictures], one.tags)
    ]
    return {
        "page": str(out.resolve()),
        "notes": [note for one in found for note in one.notes],
        "written": [str(file) for file in written],
        "classes": [_class(one) for one in found],
    }


def _class(one: Written) -> Mapping[str, Any]:
    return {
        "name": one.concept.name,
        "category": one.concept.category,
        "trigger": one.concept.trigger,
        "inherent": [asdict(entry) for entry in one.inherent],
        "pictures": [
            {
                "path": picture.relative,
                "tags": one.tags[place],
                "captions": {strategy: texts[place] for strategy, texts in one.captions.items()},
            }
            for place, picture in enumerate(one.concept.pictures)
        ],
    }
