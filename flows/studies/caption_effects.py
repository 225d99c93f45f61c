"""Measure the true effect of a caption strategy in a finished study on the pocket world.

    python -m flows.studies.caption_effects runs                             `none` against `all`
    python -m flows.studies.caption_effects runs --level adjusted --against all --json

Scores do not separate what a prompt asks for from what the concept brings along; the judge does, attribute by
attribute. Adapters of one concept that differ only in their captions are compared in pairs.
"""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.studies.generated_images import StudyAdapter, load_study_images
from flows.studies.script import run_script, study_parser
from lycoris.analysis.statistics.group_means import GroupMean, mean_over_groups
from lycoris.errors import InputError

logger = logging.getLogger("lycoris.studies.caption_effects")

REPORTED_ATTRIBUTES = ("accessory", "background", "style", "fidelity", "preservation")


def caption_effects(runs: Path, strategy: str, reference: str) -> list[dict[str, Any]]:
    """Differences of the true scores between two caption strategies, pair by pair.

    Args:
        runs: output folder of a study on the pocket's concepts.
        strategy: caption strategy.
        reference: caption strategy whose scores are subtracted.

    Returns:
        Records ``{"concept", "category", "kind", "what", "gap"}``: ``kind`` is the prompt type, ``what`` an attribute
        or dimension of `lycoris.pocket.models.ground_truth.true_scores`, and ``gap`` lies in [-1, 1].

    Raises:
        InputError: no two adapters of the study differ only in these captions.
    """
    from lycoris.pocket.models.ground_truth import ConceptJudge
    from lycoris.pocket.world.concepts import CONCEPTS

    study = load_study_images(runs)
    groups: dict[tuple[str, str, str], dict[str, StudyAdapter]] = defaultdict(dict)
    for adapter in study.adapters:
        header = adapter.header
        groups[adapter.concept, header["settings"], header["seed"]][header["captions"]] = adapter
    pairs: dict[str, list[tuple[StudyAdapter, StudyAdapter]]] = defaultdict(list)
    for (concept, _, _), group in groups.items():
        if strategy in group and reference in group:
            pairs[concept].append((group[strategy], group[reference]))
    if not pairs:
        raise InputError(f"The study in `{runs}` has no adapters with `{strategy}` and `{reference}` captions.")
    effects = []
    for concept in sorted(pairs):
        judge = ConceptJudge(concept)
        for pair in pairs[concept]:
            scores, reference_scores = (study.true_scores(adapter, judge) for adapter in pair)
            effects += [
                {
                    "concept": concept,
                    "category": CONCEPTS[concept].category,
                    "kind": prompt_type,
                    "what": name,
                    "gap": scores[prompt_type][name] - reference_scores[prompt_type][name],
                }
                for prompt_type in scores
                for name in REPORTED_ATTRIBUTES
                if name in scores[prompt_type] and name in reference_scores.get(prompt_type, {})
            ]
        logger.info(f"{concept}: {len(pairs[concept])} pairs")
    return effects


def effects_table(effects: Sequence[Mapping[str, Any]], prompt_types: Sequence[str] = ("alter", "style")) -> str:
    """Mean differences with 95 % intervals over pairs as a Markdown table, one row per attribute and prompt type."""
    categories = sorted({effect["category"] for effect in effects})
    lines = ["| what | prompts | " + " | ".join(categories) + " |", "|---|---|" + "---|" * len(categories)]
    for name in REPORTED_ATTRIBUTES:
        for prompt_type in prompt_types:
            rows = [effect for effect in effects if effect["what"] == name and effect["kind"] == prompt_type]
            if rows:
                means = [mean_over_groups(_category_gaps(rows, category), minimum=-1.0) for category in categories]
                lines.append(f"| {name} | {prompt_type} | " + " | ".join(map(_format_mean, means)) + " |")
    return "\n".join(lines)


def _category_gaps(effects: Sequence[Mapping[str, Any]], category: str) -> np.ndarray:
    return np.array([effect["gap"] for effect in effects if effect["category"] == category], dtype=float)


def _format_mean(mean: GroupMean | None) -> str:
    if mean is None:
        return "-"
    text = f"{mean.mean:+.2f}"
    return text if mean.low is None else f"{text} [{mean.low:.2f}, {mean.high:.2f}]"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 2 for invalid input."""
    parser = study_parser(__doc__)
    parser.add_argument("--level", default="none", help="caption strategy (default: none)")
    parser.add_argument("--against", default="all", help="caption strategy to compare with (default: all)")
    arguments = parser.parse_args(argv)

    def measure() -> tuple[str, dict[str, Any]]:
        effects = caption_effects(arguments.runs, arguments.level, arguments.against)
        return effects_table(effects), {"gaps": effects}

    return run_script(arguments, measure)


if __name__ == "__main__":
    sys.exit(main())
