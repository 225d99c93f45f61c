"""The fixed vocabularies of the project: prompt types, caption strategies, dimensions, resize modes and run states.

Every list of them in the project is derived from these; ``tests/test_terms.py`` finds the module or page script that
spells one out again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

Dimension = Literal["fidelity", "controllability", "diversity", "preservation", "quality"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
"""What a model is evaluated for, in the order of reports."""

CaptionStrategy = Literal["none", "all", "adjusted", "sentence"]
CAPTION_STRATEGIES: tuple[CaptionStrategy, ...] = get_args(CaptionStrategy)
"""What a training caption says besides the trigger; `lycoris.captions.strategies` writes them."""
SENTENCE_STRATEGIES: frozenset[CaptionStrategy] = frozenset({"sentence"})
"""The strategies that need a captioner."""
TAG_STRATEGIES = tuple(name for name in CAPTION_STRATEGIES if name not in SENTENCE_STRATEGIES)
"""The strategies of arXiv 2309.14859, which need tags alone."""
TAGGED_STRATEGIES: frozenset[CaptionStrategy] = frozenset({*TAG_STRATEGIES} - {"none"})
"""The strategies whose captions hold tags, so that every image needs some."""

ResizeMode = Literal["resize", "crop", "padding"]
RESIZE_MODES: tuple[ResizeMode, ...] = get_args(ResizeMode)
"""How an image reaches the input size of an encoder; `lycoris.encoders.preprocessing` applies them."""

TAG_QUESTION = 'Does this figure show "{}"?'
"""The question for a tag, or for a whole prompt, that a visual question answering network gets (arXiv 2404.01291)."""

RunState = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
RUN_STATES: tuple[RunState, ...] = get_args(RunState)
"""The states of a run in MLflow."""

Verdict = Literal["better", "small", "none", "worse", "unknown"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""How a score compares with the base's in reports: ``none`` where no difference is shown, ``small`` where it is shown
and too small to matter."""


@dataclass(frozen=True)
class PromptType:
    """One kind of prompt that a concept is generated from (arXiv 2309.14859, section 5.1).

    Attributes:
        title: its heading in reports.
        about: one line of help.
        count: images of this type in an experiment that does not say otherwise.
        dimension: what its images say most about.
        report_rank: its place in reports, lowest first.
        has_trigger: whether the prompt holds the trigger, so that it asks for the concept.
        has_content: whether the prompt asks for more than the concept.
        resembles_data: whether its images are to be distributed like the training images.
        has_repeats: whether several images share a prompt or differ by the seed alone, so that their diversity counts.
        base_knows_it: whether the untouched base can follow the prompt.
    """

    title: str
    about: str
    count: int
    dimension: Dimension
    report_rank: int
    has_trigger: bool = True
    has_content: bool = True
    resembles_data: bool = False
    has_repeats: bool = True
    base_knows_it: bool = False


PROMPT_TYPES: dict[str, PromptType] = {
    "train": PromptType(
        "Training captions", "prompts are the training captions", 8, "fidelity", 3, resembles_data=True
    ),
    "trigger": PromptType(
        "Trigger alone", "the trigger alone", 10, "fidelity", 0, has_content=False, resembles_data=True
    ),
    "alter": PromptType("New situations", "the concept in ten new situations", 20, "controllability", 1),
    "style": PromptType(
        "Art styles", "the concept in five art styles", 5, "preservation", 2, has_repeats=False, base_knows_it=True
    ),
    "plain": PromptType(
        "Without the trigger", "situations without the trigger: what is left of the base", 0, "preservation", 4,
        has_trigger=False, has_repeats=False, base_knows_it=True,
    ),
    "neighbour": PromptType(
        "Neighbouring classes", "other things, such as a cat and a dog: what the adapter changes of them", 0,
        "preservation", 5, has_trigger=False, has_repeats=False, base_knows_it=True,
    ),
}  # fmt: skip
"""Name -> prompt type. A new one is an entry here and a function in `lycoris.captions.prompts`."""
TRACKERS = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""Programs beside MLflow that show trainings while they run -> the package each needs, which is an extra."""
REPORTED_PROMPT_TYPES = tuple(sorted(PROMPT_TYPES, key=lambda name: PROMPT_TYPES[name].report_rank))
"""Their names in the order of reports."""

HEADLINE_SCORES: dict[str, str] = {
    "fidelity": "image_similarity/trigger",
    "controllability": "text_similarity/alter",
    "diversity": "vendi/trigger",
    "preservation": "style_loss/style",
    "quality": "frechet_distance/train",
}
"""The score that stands for a dimension: its first metric, on the prompt type that says most about it."""

WORSE_MEANS: dict[str, str] = {
    "fidelity": "images are less like the training images",
    "controllability": "prompts are followed less",
    "diversity": "images vary less",
    "preservation": "the base's own knowledge suffers",
    "quality": "images are further from the training images as a set",
}
"""Dimension -> what a worse score means, for readers."""


def page_terms() -> dict[str, Any]:
    """The vocabularies as the page scripts get them, with their payload."""
    return {
        "prompt_types": {
            name: {"title": PROMPT_TYPES[name].title, "dimension": PROMPT_TYPES[name].dimension}
            for name in REPORTED_PROMPT_TYPES
        },
        "strategies": list(CAPTION_STRATEGIES),
        "dimensions": list(DIMENSIONS),
        "verdicts": list(VERDICTS),
    }
