"""Prompts to draw a concept with: from its captions, from its trigger alone, in new situations, in art styles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lycoris.captions.default_templates import templates_for_base
from lycoris.captions.templates import CategoryTemplates, Templates
from lycoris.captions.trigger_text import describe_caption, with_description, with_trigger
from lycoris.data.concepts import Concept
from lycoris.errors import InputError, unknown_name_error

MIN_IMAGES_PER_SITUATION = 2
"""Pictures of one situation under which its diversity could not be told; with few pictures, fewer situations."""

PromptText = tuple[str, str, int]  # text, evaluation, group


@dataclass(frozen=True)
class PromptSpec:
    """What one picture is drawn from.

    Attributes:
        text: what the base and the adapter are given.
        evaluation: the same for encoders that do not know the trigger: trigger and noun described.
        seed: of the initial noise.
        group: which caption, variant, situation or style it is; diversity is taken within the groups of `alter`.
    """

    text: str
    evaluation: str
    seed: int
    group: int


def build_prompts(
    concept: Concept,
    captions: Sequence[str],
    prompt_type: str,
    count: int,
    seed: int = 1000,
    templates: Templates | None = None,
) -> list[PromptSpec]:
    """The prompts of one type (arXiv 2309.14859, section 5.1).

    Subclasses take turns: picture by picture for `trigger`, from one situation or style to the next otherwise.

    Args:
        concept: what is to be drawn.
        captions: its training captions, one a picture; only `train` uses them.
        kind: of `lycoris.terms.PROMPT_TYPES`.
        count: how many, at least 0.
        seed: of the first; the n-th has ``seed + n``, so that the n-th pictures of any two models share theirs.
        templates: sentences by category; those of the pocket by default.

    Raises:
        InputError: the kind is unknown, the count negative, or there are no captions to train with.
    """
    if prompt_type not in _PROMPT_BUILDERS:
        raise unknown_name_error("prompt type", prompt_type, _PROMPT_BUILDERS)
    if count < 0:
        raise InputError(f"Argument `count` must be at least 0, but got {count}.")
    if count == 0:
        return []
    wording = (templates or templates_for_base()).for_concept(concept)
    pairs = _PROMPT_BUILDERS[prompt_type](concept, captions, count, wording)
    return [PromptSpec(text, evaluation, seed + n, group) for n, (text, evaluation, group) in enumerate(pairs)]


def _train_prompts(
    concept: Concept, captions: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """The training captions in turn; of more captions than prompts some, evenly over all."""
    if not captions:
        raise InputError(f"Prompts of type `train` need the captions of `{concept.name}`, but there are none.")
    aligned = len(captions) == len(concept.images)
    groups = {text: number for number, text in enumerate(dict.fromkeys(captions))}
    pairs = []
    for n in range(count):
        index = n * len(captions) // count if count < len(captions) else n % len(captions)
        text = captions[index]
        subclass = concept.images[index].subclass if aligned else None
        pairs.append((text, describe_caption(concept, text, subclass, templates), groups[text]))
    return pairs


def _trigger_prompts(
    concept: Concept, captions: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """The trigger alone."""
    variants = _subclass_names(concept)
    sentences = [_prompt_texts(concept, variant, templates.opening, templates) for variant in variants]
    return [(*sentences[n % len(variants)], n % len(variants)) for n in range(count)]


def _alter_prompts(
    concept: Concept, captions: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """New situations, each at least twice where there are two pictures at all."""
    return _distribute(concept, templates.situations, max(1, count // MIN_IMAGES_PER_SITUATION), count, templates)


def _style_prompts(
    concept: Concept, captions: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """Art styles."""
    return _distribute(concept, templates.styles, count, count, templates)


def _plain_prompts(
    concept: Concept, captions: Sequence[str], count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """The situations of `alter` without the trigger: what describes the concept stands in its place."""
    return [(told, told, group) for _, told, group in _alter_prompts(concept, captions, count, templates)]


_PROMPT_BUILDERS: dict[str, Callable[[Concept, Sequence[str], int, CategoryTemplates], list[PromptText]]] = {
    "train": _train_prompts,
    "trigger": _trigger_prompts,
    "alter": _alter_prompts,
    "style": _style_prompts,
    "plain": _plain_prompts,
}


def _distribute(
    concept: Concept, sentences: Sequence[str], max_sentences: int, count: int, templates: CategoryTemplates
) -> list[PromptText]:
    """`count` prompts over the first sentences, `most` of them at most, each in a row and as often as the others."""
    used = sentences[:max_sentences]
    variants = _subclass_names(concept)
    chosen = [n * len(used) // count for n in range(count)]
    return [(*_prompt_texts(concept, variants[g % len(variants)], used[g], templates), g) for g in chosen]


def _subclass_names(concept: Concept) -> list[str | None]:
    return [each.name for each in concept.subclasses] or [None]


def _prompt_texts(
    concept: Concept, subclass: str | None, sentence: str, templates: CategoryTemplates
) -> tuple[str, str]:
    """A sentence with the concept's trigger in it, and the same sentence described."""
    return ", ".join(with_trigger(concept, subclass, sentence, templates)), with_description(
        concept, subclass, sentence, templates
    )
