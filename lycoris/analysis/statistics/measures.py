"""Measures: metric, prompt type and encoder of a column of scores, parsed from its name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lycoris.errors import InputError, unknown_name_error
from lycoris.metrics.registry import METRICS, REPEATED_PROMPTS
from lycoris.terms import DIMENSIONS, PROMPT_TYPES, RESIZE_MODES

MAX_NAME_LENGTH = 200
"""Characters of a score's name that an error quotes."""
PROMPT_TYPE_ALIASES = {"in": "train", "out": "alter", **{name: name for name in PROMPT_TYPES}}
"""Name of a prompt type, here or in arXiv 2309.14859 -> its name here."""
METRIC_ALIASES = {
    "vendi_score": "vendi",
    "fid": "frechet_distance",
    "frechet_inception_distance": "frechet_distance",
    "kid": "kernel_distance",
    "kernel_inception_distance": "kernel_distance",
}
COSTS = ("training_seconds", "peak_memory", "file_bytes", "drawing_seconds")
"""The costs of an adapter: seconds of training; bytes of memory beyond the base; bytes of its file; seconds per image.
Lower is better. They form a dimension of their own, `EFFICIENCY`."""
EFFICIENCY = "efficiency"
ALL_COMBINED = "all"
"""The prompt type or encoder of a mean over all."""


@dataclass(frozen=True)
class Measure:
    """One metric on one prompt type in one encoder, or a mean over several of them.

    Attributes:
        metric: of `lycoris.metrics.METRICS`; the dimension's name for a mean over its metrics.
        prompt_type: of `lycoris.terms.PROMPT_TYPES`; ``all`` for a mean; empty where the table does not specify it.
        encoder: as the table names it, with the resize mode at its end; ``all`` or empty likewise.
        dimension: what it measures, of `lycoris.terms.DIMENSIONS`, or `EFFICIENCY`.
        higher_is_better: its direction.
    """

    metric: str
    prompt_type: str
    encoder: str
    dimension: str
    higher_is_better: bool

    @property
    def name(self) -> str:
        """``<metric>/<prompt type>/<encoder>``, without empty parts."""
        return "/".join(part for part in (self.metric, self.prompt_type, self.encoder) if part)

    @property
    def network(self) -> str:
        """The encoder without its resize mode."""
        return self.encoder.removesuffix(f"-{self.resize_mode}") if self.resize_mode else self.encoder

    @property
    def resize_mode(self) -> str:
        """``resize``, ``crop`` or ``padding``, where the encoder's name ends so; otherwise empty."""
        mode = self.encoder.rpartition("-")[2]
        return mode if mode in RESIZE_MODES else ""


def measure_from_column(column: str) -> Measure:
    """The measure of a published column, such as ``Image Similarity (dinov2-l-fb-padding) (out)``.

    Args:
        column: a metric's name, then encoder and prompt type in parentheses, each of which may be missing.

    Raises:
        InputError: The metric is unknown, or the parentheses hold something else.
    """
    metric, *rest = (part.strip() for part in column.split("("))
    parts = [part.removesuffix(")").strip() for part in rest]
    if any(not part.endswith(")") for part in rest) or len(parts) > 2:
        raise InputError(f"Column `{column}` must read `Metric (encoder) (prompt type)`.")
    types = [part for part in parts if part.casefold() in PROMPT_TYPE_ALIASES]
    encoders = [part for part in parts if part.casefold() not in PROMPT_TYPE_ALIASES]
    if len(types) > 1 or len(encoders) > 1:
        known = ", ".join(PROMPT_TYPE_ALIASES)
        raise InputError(f"Column `{column}` must name one encoder and one prompt type ({known}).")
    prompt_type = PROMPT_TYPE_ALIASES[types[0].casefold()] if types else ""
    return _known_measure(
        column, re.sub(r"[\s-]+", "_", metric).casefold(), prompt_type, encoders[0] if encoders else ""
    )


def measure_from_name(name: str, dimension: str | None = None, higher_is_better: bool | None = None) -> Measure:
    """The measure of a score name, such as ``image_similarity/alter/dinov2``.

    Args:
        name: ``<metric>/<prompt type>/<encoder>``.
        dimension: of a metric that is not in `METRICS`, as the table of scores has it.
        higher_is_better: its direction likewise.

    Raises:
        InputError: The metric is unknown, and the table does not specify its direction.
    """
    metric, prompt_type, encoder = [*name.split("/", 2), "", ""][:3]
    prompt_type = PROMPT_TYPE_ALIASES.get(prompt_type, prompt_type)
    if metric not in METRICS and dimension is not None and higher_is_better is not None:
        return Measure(metric, prompt_type, encoder, dimension, higher_is_better)
    return _known_measure(name, metric, prompt_type, encoder)


def _known_measure(column: str, metric: str, prompt_type: str, encoder: str) -> Measure:
    metric = METRIC_ALIASES.get(metric, metric)
    if len(column) > MAX_NAME_LENGTH:
        raise InputError(f"Column `{column[:MAX_NAME_LENGTH]}...` is none of a known metric: its name is too long.")
    if metric not in METRICS:
        raise InputError(f"Column `{column}`: {unknown_name_error('metric', metric, METRICS)}")
    entry = METRICS[metric]
    dimension = entry.dimension
    if metric == "style_loss" and prompt_type in REPEATED_PROMPTS:
        dimension = "fidelity"  # on these the published tables compare with the dataset, not with the base
    return Measure(metric, prompt_type, encoder, dimension, entry.higher_is_better)


def mean_components(measures: Iterable[Measure]) -> dict[Measure, list[list[Measure]]]:
    """The means of each dimension, and of each metric on one prompt type in several encoders, with their components.

    Returns:
        Mean -> what it is taken over: first within the inner lists, then over the outer list, so that a metric does not
        weigh more for having more encoders. A dimension leaves out what :func:`counts_in_dimension` excludes.
    """
    by_dimension: dict[str, dict[str, list[Measure]]] = {}
    by_prompt_type: dict[Measure, list[Measure]] = {}
    for one in measures:
        if counts_in_dimension(one.metric, one.prompt_type):
            by_dimension.setdefault(one.dimension, {}).setdefault(one.metric, []).append(one)
        mean = Measure(one.metric, one.prompt_type, ALL_COMBINED, one.dimension, one.higher_is_better)
        by_prompt_type.setdefault(mean, []).append(one)
    names = sorted(by_dimension, key=lambda name: (*DIMENSIONS, name).index(name))
    means = {Measure(name, ALL_COMBINED, ALL_COMBINED, name, True): list(by_dimension[name].values()) for name in names}
    return means | {mean: [own] for mean, own in by_prompt_type.items() if len(own) > 1}


def counts_in_dimension(metric: str, prompt_type: str) -> bool:
    """Whether a metric's rank on a prompt type counts in the mean of its dimension; an unknown metric's does."""
    if metric not in METRICS:
        return True
    return METRICS[metric].counts_in_dimension and prompt_type not in METRICS[metric].excluded_prompt_types
