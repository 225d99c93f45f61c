"""One metric with everything needed to compute and to interpret it, and the prompt types that metrics are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lycoris.metrics.weighted import MetricFunction
from lycoris.terms import PROMPT_TYPES, Dimension

STYLE_CATEGORIES = frozenset({"style", "styles"})
"""Categories of concepts that are styles, so that style losses against the dataset measure fidelity."""

TRIGGER_PROMPTS = tuple(name for name, entry in PROMPT_TYPES.items() if entry.has_trigger)
"""Prompt types that ask for the concept."""
CONTENT_PROMPTS = tuple(name for name in TRIGGER_PROMPTS if PROMPT_TYPES[name].has_content)
"""Prompt types that ask for more than the concept."""
BASE_PROMPTS = tuple(name for name, entry in PROMPT_TYPES.items() if entry.base_knows_it)
"""Prompt types that the base can follow: art styles, and the concept's description without its trigger."""
DATA_PROMPTS = tuple(name for name, entry in PROMPT_TYPES.items() if entry.resembles_data)
"""Prompt types whose images should be distributed like the training images."""
REPEATED_PROMPTS = tuple(name for name, entry in PROMPT_TYPES.items() if entry.has_repeats)
"""Prompt types with several images of one subject, so that their diversity can be measured."""


@dataclass(frozen=True)
class Metric:
    """One metric with everything needed to compute and to interpret it.

    Attributes:
        function: the metric; its arguments are the features in ``inputs``, then those of the generated images.
        dimension: one of `lycoris.terms.DIMENSIONS`.
        higher_is_better: its direction.
        range: smallest and largest value; None where it is unbounded.
        prompt_types: the prompt types it is computed for.
        inputs: the arguments before the generated images, of ``references``, ``look_alikes``, ``texts``, ``base`` and
            ``requested``; the last three correspond to the generated images row by row.
        feature_kind: ``image`` (L2-normalized), ``style`` (unchanged), ``tags``, or ``prediction``: the output of the
            metric's own network, see `lycoris.metrics.quality_predictors`; also of references and the base's images
            where those are inputs.
        source: paper or definition.
        description: one sentence for readers of the report.
        grouped_prompt_types: prompt types for which it is computed in each situation and averaged.
        min_images: the fewest generated images it is defined for.
        min_references: the fewest references it is defined for.
        scale: its difference between images without anything in common and equal ones (orthogonal and equal features),
            or the width of its range; None where the base's value takes its place.
        styles_only: whether it applies to concepts that are styles only.
        by_default: whether it is computed unless others are selected.
        counts_in_dimension: whether its rank counts in its dimension's mean. It does not for metrics that fall as the
            ground truth of the dimension rises in the pocket world, or do not correlate with it (`docs/metrics.md`).
        excluded_prompt_types: prompt types on which it does not count, although it does on others.
        reads_prompts: whether its own network sees the prompt of each image.
        has_interval: whether leaving images out says how uncertain it is. It does not where an image counts only if it
            is the first one of its kind, so that leaving out any single one changes nothing.
    """

    function: MetricFunction
    dimension: Dimension
    higher_is_better: bool
    range: tuple[float | None, float | None]
    prompt_types: tuple[str, ...]
    inputs: tuple[str, ...]
    feature_kind: Literal["image", "style", "tags", "prediction"]
    source: str
    description: str
    grouped_prompt_types: tuple[str, ...] = ()
    min_images: int = 1
    min_references: int = 1
    scale: float | None = 1.0
    styles_only: bool = False
    by_default: bool = True
    counts_in_dimension: bool = True
    excluded_prompt_types: tuple[str, ...] = ()
    reads_prompts: bool = False
    has_interval: bool = True

    def applies_to(self, prompt_type: str, category: str) -> bool:
        """Whether it is computed for images of this prompt type and concepts of this category."""
        return prompt_type in self.prompt_types and (not self.styles_only or category in STYLE_CATEGORIES)

    def needs_prompts(self, prompt_type: str) -> bool:
        """Whether it is undefined for images of this prompt type whose prompts are unknown.

        It is if it compares images with their prompts, with the base's images of the same prompts, or by situation.
        """
        of_prompts = {"texts", "requested", "base"}.intersection(self.inputs)
        return self.reads_prompts or bool(of_prompts) or prompt_type in self.grouped_prompt_types
