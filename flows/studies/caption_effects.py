"""What a choice of captions truly changed: a finished study on the pocket world, in the eyes of its judge.

    python -m flows.studies.caption_effects runs                              `none` against `all`
    python -m flows.studies.caption_effects runs --level adjusted --against all --json

Scores mix what was asked for with what the concept is called; the judge tells them apart, attribute by attribute. Pairs
are adapters of one concept that differ in their captions alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.runtime.prefect_server import configure_environment
from flows.studies.metric_trust import ground_truth, load_study_images, log_line
from lycoris.errors import InputError

REPORTED_ATTRIBUTES = ("accessory", "background", "style", "fidelity", "preservation")


def caption_effects(runs: Path, strategy: str, reference: str) -> list[dict[str, Any]]:
    """What one caption strategy changed beside another, pair by pair.

    Args:
        runs: the output folder of a study on the pocket's concepts.
        level, against: tag strategies.

    Returns:
        ``{"concept", "category", "kind", "what", "gap"}`` records; ``what`` is an attribute that prompts name, or a
        dimension, as `lycoris.pocket.models.ground_truth.truths` tells it, and ``gap`` lies in [-1, 1].

    Raises:
        InputError: no two adapters of the study differ in these captions alone.
    """
    from lycoris.adapters.files.checkpoint_reader import read_metadata
    from lycoris.pocket.models.ground_truth import ConceptJudge
    from lycoris.pocket.world.concepts import CONCEPTS
    from tasks.runtime.adapter_training import ADAPTER_FILE

    drawn, base = load_study_images(runs)
    pairs: dict[Any, dict[str, Any]] = defaultdict(dict)
    for each in drawn:
        header = read_metadata(runs / "store" / "adapter" / each.name / ADAPTER_FILE)
        pairs[each.concept, header["settings"], header["seed"]][header["captions"]] = each
    both = {key: pair for key, pair in pairs.items() if {strategy, reference} <= pair.keys()}
    if not both:
        raise InputError(
            f"The study in `{runs}` has no adapters with `{strategy}` and `{reference}` captions to compare."
        )
    found = []
    for concept in sorted({key[0] for key in both}):
        oracle = ConceptJudge(concept)
        for key, pair in both.items():
            if key[0] != concept:
                continue
            one, other = (ground_truth(pair[name], base, oracle) for name in (strategy, reference))
            found += [
                {
                    "concept": concept, "category": CONCEPTS[concept].category, "kind": kind, "what": what,
                    "gap": one[kind][what] - other[kind][what],
                }
                for kind in one
                for what in REPORTED_ATTRIBUTES
                if what in one[kind] and what in other.get(kind, {})
            ]  # fmt: skip
        log_line(f"{concept}: {sum(key[0] == concept for key in both)} pairs")
    return found


def effects_table(effects: Sequence[Mapping[str, Any]], kinds: Sequence[str] = ("alter", "style")) -> str:
    """Mean gaps with 95 % intervals over pairs as a Markdown table, an attribute and prompt type a row."""
    from lycoris.analysis.statistics.ranking import mean_over_groups

    categories = sorted({one["category"] for one in effects})
    lines = ["| what | prompts | " + " | ".join(categories) + " |", "|---|---|" + "---|" * len(categories)]
    for what in REPORTED_ATTRIBUTES:
        for kind in kinds:
            own = [one for one in effects if one["what"] == what and one["kind"] == kind]
            if own:
                cells = [_format_mean(mean_over_groups(_category_gaps(own, name), minimum=-1.0)) for name in categories]
                lines.append(f"| {what} | {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _category_gaps(found: Sequence[Mapping[str, Any]], category: str) -> np.ndarray:
    return np.array([one["gap"] for one in found if one["category"] == category], dtype=float)


def _format_mean(mean: Mapping[str, Any] | None) -> str:
    if mean is None:
        return "-"
    text = f"{mean['mean']:+.2f}"
    return text if mean["low"] is None else f"{text} [{mean['low']:.2f}, {mean['high']:.2f}]"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 2 when something that was given is wrong."""
    configure_environment()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the output folder of a study on the pocket's concepts")
    parser.add_argument("--level", default="none")
    parser.add_argument("--against", default="all")
    parser.add_argument("--json", action="store_true", help="print one JSON object, last line of stdout")
    arguments = parser.parse_args(argv)
    try:
        found = caption_effects(arguments.runs, arguments.level, arguments.against)
    except InputError as error:
        print(f"lycoris: {error}", file=sys.stderr)
        return 2
    print(effects_table(found), flush=True)
    if arguments.json:
        print(json.dumps({"gaps": found}, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
