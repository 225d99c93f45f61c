"""The prompt of one generated image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class PromptSpec:
    """What one image is generated from.

    Attributes:
        text: the prompt for the base and the adapter; empty where it is unknown.
        evaluation: the same prompt for encoders that do not know the trigger: a description stands in its place.
        seed: seed of the initial noise.
        group: index of the caption, subclass, situation or style; diversity is computed within the groups of `alter`.
    """

    text: str
    evaluation: str
    seed: int
    group: int = 0


def prompts_are_known(prompts: Iterable[PromptSpec]) -> bool:
    """Whether every image has a prompt; images that were made elsewhere may have none."""
    return all(prompt.text for prompt in prompts)
