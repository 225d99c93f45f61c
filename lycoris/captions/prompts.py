"""Prompts to generate a concept from: its captions, its trigger alone, new situations, art styles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lycoris.captions.default_templates import templates_for_base
from lycoris.captions.templates import CategoryTemplates, Templates
from lycoris.captions.trigger_text import describe_caption, with_description, with_trigger
from lycoris.data.concepts import Concept
from lycoris.data.prompt_spec import PromptSpec
from lycoris.errors import InputError, unknown_name_error

MIN_IMAGES_PER_SITUATION = 2
"""A single image has no diversity, so that few images use fewer situations."""

NEIGHBOURS = ("cat", "dog", "bear", "bird", "fish", "flower", "house", "car", "robot", "person")
"""Other things than the concept that every base should know, for the prompts of type `neighbour`."""

PromptText = tuple[str, str, int]
"""Prompt, prompt for evaluation, group."""


def build_prompts(
    concept: Concept,
    captions: Sequence[str],
    prompt_type: str,
    count: int,
    seed: int = 1000,
    templates: Templates | None = None,
) -> list[PromptSpec]:
    """Build the prompts of one type (arXiv 2309.14859, section 5.1).

    Subclasses alternate: with every image for `trigger`, with every situation or style otherwise.

    Args:
        concept: the concept to generate.
        captions: its training captions, one per image; only `train` uses them.
        prompt_type: one of `lycoris.terms.PROMPT_TYPES`.
        count: number of prompts, at least 0.
        seed: seed of the first image; the n-th has ``seed + n``, so that the n-th images of two models share a seed.
        templates: sentences by category; the pocket's by default.

    Raises:
        InputError: the prompt type is unknown, the count is negative, or `train` has no captions.
    """
    if prompt_type not in _PROMPT_BUILDERS:
        raise unknown_name_error("prompt type", prompt_type, _PROMPT_BUILDERS)
    if count < 0:
        raise InputError(f"Argument `count` must be at least 0, but got {count}.")
    if count == 0:
        return []
    own = (templates or templates_for_base()).for_concept(concept)
    texts = _PROMPT_BUILDERS[prompt_type](concept, captions, count, own)
    return [PromptSpec(text, evaluation, seed + n, group) for n, (text, evaluation, group) in enumerate(texts)]


def _train_prompts(
    concept: Concept, captions: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """Repeat the training captions in order; of more captions than prompts take an even subset."""
    if not captions:
        raise InputError(f"Prompts of type `train` need the captions of `{concept.name}`, but there are none.")
    aligned = len(captions) == len(concept.images)
    groups = {caption: group for group, caption in enumerate(dict.fromkeys(captions))}
    texts = []
    for n in range(count):
        index = n * len(captions) // count if count < len(captions) else n % len(captions)
        caption = captions[index]
        subclass = concept.images[index].subclass if aligned else None
        texts.append((caption, describe_caption(concept, caption, subclass, templates), groups[caption]))
    return texts


def _trigger_prompts(
    concept: Concept, captions: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """Use the trigger alone."""
    subclasses = _subclass_names(concept)
    pairs = [_fill_template(concept, subclass, templates.opening, templates) for subclass in subclasses]
    return [(*pairs[n % len(pairs)], n % len(pairs)) for n in range(count)]


def _alter_prompts(
    concept: Concept, captions: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """Use new situations, each at least twice if there are two images at all."""
    situations = templates.situations[: max(1, count // MIN_IMAGES_PER_SITUATION)]
    return _distribute(concept, situations, count, templates)


def _style_prompts(
    concept: Concept, captions: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """Use art styles."""
    return _distribute(concept, templates.styles[:count], count, templates)


def _plain_prompts(
    concept: Concept, captions: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """Use the situations of `alter` with the description in place of the trigger."""
    texts = _alter_prompts(concept, captions, count, templates)
    return [(evaluation, evaluation, group) for _, evaluation, group in texts]


def _neighbour_prompts(
    concept: Concept, captions: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """Use the class noun alone, then other common nouns, in turn."""
    noun = concept.class_noun.lower()
    nouns = [noun, *(other for other in NEIGHBOURS if other not in noun.split())]
    texts = [f"{'an' if word[0] in 'aeiou' else 'a'} {word}" for word in nouns]
    return [(texts[n % len(texts)], texts[n % len(texts)], n % len(texts)) for n in range(count)]


_PROMPT_BUILDERS: dict[str, Callable[[Concept, Sequence[str], int, CategoryTemplates], list[PromptText]]] = {
    "train": _train_prompts,
    "trigger": _trigger_prompts,
    "alter": _alter_prompts,
    "style": _style_prompts,
    "plain": _plain_prompts,
    "neighbour": _neighbour_prompts,
}
"""How the prompts of each of `lycoris.terms.PROMPT_TYPES` are built."""


def _distribute(
    concept: Concept, sentences: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """Distribute `count` prompts evenly over sentences; equal ones follow each other."""
    subclasses = _subclass_names(concept)
    groups = [n * len(sentences) // count for n in range(count)]
    return [
        (*_fill_template(concept, subclasses[group % len(subclasses)], sentences[group], templates), group)
        for group in groups
    ]


def _subclass_names(concept: Concept) -> list[str | None]:
    return [subclass.name for subclass in concept.subclasses] or [None]


def _fill_template(
    concept: Concept, subclass: str | None, sentence: str, templates: CategoryTemplates
) -> tuple[str, str]:
    """The sentence with the concept's trigger, and the same sentence with its description."""
    prompt = ", ".join(with_trigger(concept, subclass, sentence, templates))
    return prompt, with_description(concept, subclass, sentence, templates)
