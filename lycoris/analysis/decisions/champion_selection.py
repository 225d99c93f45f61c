"""The champion of a concept: the adapter to use, by a rule that can be checked by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lycoris.analysis.statistics.ranks import AdapterScore, dimension_ranks
from lycoris.analysis.text.formatting import format_number
from lycoris.metrics.score import ScoreRecord, is_too_small

DECIDING_SCORES = "image_similarity/trigger/"
"""Beginning of the names of the scores, one an encoder, that decide whether an adapter learned."""

CHAMPION_RULE = (
    "Among the adapters whose image similarity on trigger prompts beats the base outside its interval, by enough to "
    "matter, in every encoder, the one with the highest mean over the five dimensions of its scaled rank; of two equal "
    "ones, the smaller file. Where no adapter beats the base there is no champion, only a best of all by the same mean."
)
NOT_LEARNED = "no adapter of its study beats the base in fidelity, outside its interval and by enough to matter"
"""Why the best adapter of a study is not its champion."""


@dataclass(frozen=True)
class Champion:
    """The best adapter of a concept, its champion if it has learned the concept.

    Attributes:
        adapter: its name.
        rank: its mean scaled rank over the dimensions, in [0, 1].
        ranks: dimension -> its scaled rank.
        runner_up: the next best adapter, or None.
        beats_base: whether it beats the base in fidelity outside the interval.
        reason: why it was selected, in one sentence.
    """

    adapter: str
    rank: float
    ranks: dict[str, float]
    runner_up: str | None
    beats_base: bool
    reason: str


def select_champion(scores: Sequence[AdapterScore], file_sizes: Mapping[str, int]) -> Champion | None:
    """The best among the adapters of one concept, by `CHAMPION_RULE`.

    Args:
        scores: with ``adapter``, ``name``, ``value``, ``difference``, ``difference_low``, ``dimension`` and
            ``higher_is_better``.
        file_sizes: adapter -> bytes of its file.

    Returns:
        The best adapter, or None when nothing was scored.
    """
    ranks = dimension_ranks(scores)
    if ranks.empty:
        return None
    winners = {name for name in ranks.index if beats_base([row for row in scores if row["adapter"] == name])}
    candidates = ranks.loc[sorted(winners)] if winners else ranks
    means = candidates.mean(axis=1)
    order = sorted(means.index, key=lambda name: (-round(means[name], 9), file_sizes.get(name, 0), name))
    best = order[0]
    reason = (
        f"mean scaled rank {format_number(float(means[best]), 2)} over {', '.join(ranks.columns)}; "
        + (f"{len(winners)} of {len(ranks)} adapters beat the base in fidelity" if winners else NOT_LEARNED)
        + (f"; next is {order[1]} with {format_number(float(means[order[1]]), 2)}" if len(order) > 1 else "")
    )
    return Champion(
        adapter=best,
        rank=float(means[best]),
        ranks={str(name): float(value) for name, value in ranks.loc[best].items()},
        runner_up=order[1] if len(order) > 1 else None,
        beats_base=best in winners,
        reason=reason,
    )


def beats_base(scores: Iterable[ScoreRecord]) -> bool:
    """Whether one adapter's image similarity on trigger prompts beats the base outside its interval in every encoder.

    A difference that is too small to matter (`lycoris.metrics.registry.smallest_difference`) does not count.

    Args:
        scores: its scores, with ``name``, ``difference`` and ``difference_low``.
    """
    rows = list(scores)
    return any(row["name"].startswith(DECIDING_SCORES) for row in rows) and not unconvinced(rows)


def unconvinced(scores: Iterable[ScoreRecord]) -> list[str]:
    """Return the names of the deciding scores in which an adapter does not beat the base, as `beats_base` has it."""
    return [
        row["name"]
        for row in scores
        if row["name"].startswith(DECIDING_SCORES)
        and ((low := row.get("difference_low")) is None or low <= 0 or is_too_small(row))
    ]
