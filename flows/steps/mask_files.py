"""Masks of a folder of images by a segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.config.concepts import select_concepts
from flows.config.experiment import Experiment
from lycoris.cache.store import Store
from lycoris.data.folders import absolute_path
from lycoris.errors import InputError
from lycoris.pretrained import resolve_device
from lycoris.segmentation import open_segmenter, takes_prompt
from tasks.artifacts import RunContext
from tasks.masks import ConceptMasks, segment_images, write_masks

MAX_NAMED = 5
"""Images named in a message; `write_mask_files` returns all of them."""


@dataclass(frozen=True)
class Segmentation:
    """How images are masked.

    Attributes:
        segmenter: a folder or a hub name.
        prompt: what it searches; None for the class noun of each concept.
        threshold: minimum probability of a pixel of the subject.
        write: whether masks are written beside the images.
    """

    segmenter: str
    prompt: str | None = None
    threshold: float = 0.5
    write: bool = False


def write_mask_files(experiment: Experiment, options: Segmentation) -> dict[str, Any]:
    """Mask every image of the selected concepts that has no mask.

    Args:
        experiment: Its data, concepts, concepts file and output apply.
        options: How images are masked.

    Returns:
        ``{"segmenter", "digest", "notes", "written", "classes": [{"name", "prompt", "masked", "own", "without",
        "invalid"}]}``; the last four name images.

    Raises:
        InputError: The data, the experiment or the segmenter is invalid, or a mask cannot be written.
    """
    has_prompt = takes_prompt(options.segmenter)
    if options.prompt is not None and not has_prompt:
        raise InputError(
            f"Argument `prompt` must be None for segmenter `{options.segmenter}`, which takes no text: it masks what "
            "is at the centre of an image."
        )
    if options.prompt is not None and not options.prompt.strip():
        raise InputError("Argument `prompt` must not be empty.")
    data = experiment.data_folder()
    segmenter = open_segmenter(options.segmenter, resolve_device("auto"), options.threshold)
    context = RunContext(Store(experiment.output / "store").root.resolve())
    notes, written, classes = [], [], []
    for concept in select_concepts(experiment, data).selected:
        prompt = (options.prompt or concept.class_noun) if has_prompt else None
        masks = segment_images(context, concept, segmenter, prompt)
        notes += _notes(concept.name, masks, prompt)
        written += write_masks(masks, absolute_path(data)) if options.write else []
        names = {"masked": masks.masks, "own": masks.own, "without": masks.without}
        classes.append(
            {
                "name": concept.name,
                "prompt": prompt,
                **{name: [str(path) for path in paths] for name, paths in names.items()},
                "invalid": {str(path): reason for path, reason in masks.invalid.items()},
            }
        )
    return {
        "segmenter": options.segmenter,
        "digest": segmenter.digest,
        "notes": notes,
        "written": [str(file) for file in written],
        "classes": classes,
    }


def _notes(name: str, masks: ConceptMasks, prompt: str | None) -> list[str]:
    """What the user should know of a concept's masks."""
    total = f"of {len(masks.masks) + len(masks.own) + len(masks.without)} images of `{name}`"
    sought = "nothing at the centre" if prompt is None else f"no `{prompt}`"
    notes = [f"{len(masks.masks)} {total} are masked."]
    if masks.own:
        notes.append(f"{len(masks.own)} {total} have a mask beside them, which is left as it is.")
    if masks.without:
        notes.append(f"{len(masks.without)} {total} show {sought} and train unmasked: {_named(masks.without)}.")
    return notes + [f"Skipped: {reason}" for reason in masks.invalid.values()]


def _named(paths: list[Path]) -> str:
    more = " ..." if len(paths) > MAX_NAMED else ""
    return ", ".join(f"`{path}`" for path in paths[:MAX_NAMED]) + more
