"""Prompts to draw a concept with: from its captions, from its trigger alone, in new situations, in art styles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lycoris.captions.default_templates import default_templates
from lycoris.captions.templates import Templates, Wording
from lycoris.captions.trigger_text import described, described_caption, named
from lycoris.data.concepts import Concept
from lycoris.errors import InputError, unknown

FEWEST_A_SITUATION = 2
"""Pictures of one situation under which its diversity could not be told; with few pictures, fewer situations."""

Pair = tuple[str, str, int]  # text, evaluation, group


@dataclass(frozen=True)
class Prompt:
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


def prompts(
    concept: Concept,
    captions: Sequence[str],
    kind: str,
    count: int,
    seed: int = 1000,
    templates: Templates | None = None,
) -> list[Prompt]:
    """The prompts of one type (arXiv 2309.14859, section 5.1).

    Subclasses take turns: picture by picture for `trigger`, from one situation or style to the next otherwise.

    Args:
        concept: what is to be drawn.
        captions: its training captions, one a picture; only `train` uses them.
        kind: of `PROMPT_TYPES`.
        count: how many, at least 0.
        seed: of the first; the n-th has ``seed + n``, so that the n-th pictures of any two models share theirs.
        templates: sentences by category; those of the pocket by default.

    Raises:
        InputError: the kind is unknown, the count negative, or there are no captions to train with.
    """
    if kind not in _KINDS:
        raise unknown("prompt type", kind, _KINDS)
    if count < 0:
        raise InputError(f"Argument `count` must be at least 0, but got {count}.")
    if count == 0:
        return []
    wording = (templates or default_templates()).of(concept)
    pairs = _KINDS[kind](concept, captions, count, wording)
    return [Prompt(text, evaluation, seed + n, group) for n, (text, evaluation, group) in enumerate(pairs)]


def _train(concept: Concept, captions: Sequence[str], count: int, wording: Wording) -> list[Pair]:
    """The training captions in turn; of more captions than prompts some, evenly over all."""
    if not captions:
        raise InputError(f"Prompts of type `train` need the captions of `{concept.name}`, but there are none.")
    aligned = len(captions) == len(concept.pictures)
    groups = {text: number for number, text in enumerate(dict.fromkeys(captions))}
    pairs = []
    for n in range(count):
        index = n * len(captions) // count if count < len(captions) else n % len(captions)
        text = captions[index]
        subclass = concept.pictures[index].subclass if aligned else None
        pairs.append((text, described_caption(concept, text, subclass, wording), groups[text]))
    return pairs


def _trigger(concept: Concept, captions: Sequence[str], count: int, wording: Wording) -> list[Pair]:
    """The trigger alone."""
    variants = _variants(concept)
    sentences = [_both(concept, variant, wording.opening, wording) for variant in variants]
    return [(*sentences[n % len(variants)], n % len(variants)) for n in range(count)]


def _alter(concept: Concept, captions: Sequence[str], count: int, wording: Wording) -> list[Pair]:
    """New situations, each at least twice where there are two pictures at all."""
    return _spread(concept, wording.situations, max(1, count // FEWEST_A_SITUATION), count, wording)


def _style(concept: Concept, captions: Sequence[str], count: int, wording: Wording) -> list[Pair]:
    """Art styles."""
    return _spread(concept, wording.styles, count, count, wording)


def _plain(concept: Concept, captions: Sequence[str], count: int, wording: Wording) -> list[Pair]:
    """The situations of `alter` without the trigger: what describes the concept stands in its place."""
    return [(told, told, group) for _, told, group in _alter(concept, captions, count, wording)]


_KINDS: dict[str, Callable[[Concept, Sequence[str], int, Wording], list[Pair]]] = {
    "train": _train,
    "trigger": _trigger,
    "alter": _alter,
    "style": _style,
    "plain": _plain,
}
PROMPT_TYPES = tuple(_KINDS)


def _spread(concept: Concept, sentences: Sequence[str], most: int, count: int, wording: Wording) -> list[Pair]:
    """`count` prompts over the first sentences, `most` of them at most, each in a row and as often as the others."""
    used = sentences[:most]
    variants = _variants(concept)
    chosen = [n * len(used) // count for n in range(count)]
    return [(*_both(concept, variants[g % len(variants)], used[g], wording), g) for g in chosen]


def _variants(concept: Concept) -> list[str | None]:
    return [each.name for each in concept.subclasses] or [None]


def _both(concept: Concept, variant: str | None, sentence: str, wording: Wording) -> tuple[str, str]:
    """A sentence with the concept's trigger in it, and the same sentence described."""
    return ", ".join(named(concept, variant, sentence, wording)), described(concept, variant, sentence, wording)
