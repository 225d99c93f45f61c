"""The four findings of the paper: what a table must show for each to hold, and when it shows nothing."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.effects import compute_effects
from lycoris.analysis.statistics.paper_findings import FALSE_DISCOVERY_RATE, Finding, evaluate_findings
from lycoris.analysis.statistics.ranking import Ranking, rank_table
from tests.analysis.conftest import PAPER

MEASURES = ("image_similarity/alter/clip", "text_similarity/alter/clip", "vendi/trigger/clip", "style_loss/style/vgg")
Value = Callable[[str, str, str], float]


def rank(
    tmp_path: Path,
    value: Value,
    *,
    algorithms=("lora", "loha", "lokr", "full"),
    noise: float = 0.1,
    concepts=8,
    measures=MEASURES,
):
    """Ranking of a table in which a score is `value(measure, algorithm, captions)`, high the better, and noise."""
    rng = random.Random(0)
    rows = []
    for concept in range(concepts):
        for algorithm in algorithms:
            for captions in ("none", "all"):
                for name in measures:
                    score = value(name.split("/")[0], algorithm, captions) + rng.gauss(0, noise)
                    score = -score if name.startswith("style_loss") else score
                    rows.append([f"concept{concept}", algorithm, captions, 0, name, score])
    file = tmp_path / "scores.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([["concept", "algorithm", "captions", "seed", "name", "value"], *rows])
    return rank_table(read_table(file))


def analyze_findings(tmp_path: Path, value: Value, **options):
    """Findings of such a table."""
    ranking = rank(tmp_path, value, **options)
    return evaluate_findings(ranking, compute_effects(ranking))


def as_in_the_paper(measure: str, algorithm: str, captions: str) -> float:
    caption = {"image_similarity": 1, "text_similarity": -1, "style_loss": -1}.get(measure, 0) * (captions == "none")
    if measure == "image_similarity":
        return caption + 2 * (algorithm == "lokr")
    return caption + 2 * (algorithm == "full") - 2 * (algorithm == "lokr")


def verdicts(found: list[Finding]) -> list[str]:
    return [one.verdict for one in found]


def test_all_hold_where_scores_are_made_so(tmp_path: Path) -> None:
    found = analyze_findings(tmp_path, as_in_the_paper)
    assert verdicts(found) == ["holds"] * 4
    for one in found:
        assert one.sentence.startswith(f"Finding {one.number} (")
        assert "nan" not in one.sentence
        assert one.evidence


def test_none_holds_where_scores_are_the_other_way_round(tmp_path: Path) -> None:
    found = analyze_findings(tmp_path, lambda *which: -as_in_the_paper(*which))
    assert verdicts(found) == ["does not hold", "holds", "does not hold", "does not hold"]


def test_an_algorithm_that_leads_everywhere_contradicts_the_second(tmp_path: Path) -> None:
    found = analyze_findings(tmp_path, lambda measure, algorithm, captions: 3.0 * (algorithm == "lora"))
    assert found[1].verdict == "does not hold"


@pytest.mark.parametrize(("q", "counts"), [(FALSE_DISCOVERY_RATE, True), (FALSE_DISCOVERY_RATE + 1e-6, False)])
def test_a_measure_counts_only_up_to_the_false_discovery_rate(tmp_path: Path, q: float, counts: bool) -> None:
    """With the same intervals, which leave out 0: worse measures in the first two findings, better ones in a leader."""
    assert FALSE_DISCOVERY_RATE == 0.05
    ranking = rank(tmp_path, as_in_the_paper)
    found = evaluate_findings(ranking, compute_effects(ranking).assign(q=q))
    assert verdicts(found) == [*(["holds"] * 2 if counts else ["not shown"] * 2), "holds", "holds"]
    leading = rank(tmp_path, lambda measure, algorithm, captions: 3.0 * (algorithm == "lora"))
    found = evaluate_findings(leading, compute_effects(leading).assign(q=q))
    assert found[1].verdict == ("does not hold" if counts else "not shown")


@pytest.mark.parametrize(("end", "shown"), [(0.0, False), (1e-9, True)])
def test_a_measure_counts_only_if_its_interval_leaves_out_zero(tmp_path: Path, end: float, shown: bool) -> None:
    def effects_ending_at(ranking: Ranking) -> pd.DataFrame:
        effects = compute_effects(ranking)
        low, high = (effects[name].astype(float) for name in ("low", "high"))
        return effects.assign(q=0.0, low=low.mask(low > 0, end), high=high.mask(high < 0, -end))

    ranking = rank(tmp_path, as_in_the_paper)
    found = evaluate_findings(ranking, effects_ending_at(ranking))
    assert verdicts(found)[:2] == (["holds"] * 2 if shown else ["not shown"] * 2)
    leading = rank(tmp_path, lambda measure, algorithm, captions: 3.0 * (algorithm == "lora"))
    found = evaluate_findings(leading, effects_ending_at(leading))
    assert found[1].verdict == ("does not hold" if shown else "not shown")


@pytest.mark.parametrize(
    ("worse", "better", "alike", "verdict"),
    [
        (1, 3, 0, "holds"), (1, 4, 0, "does not hold"), (2, 6, 0, "holds"), (0, 4, 0, "does not hold"),
        (1, 3, 1, "not shown"), (0, 3, 1, "not shown"), (0, 4, 1, "does not hold"),
    ],
)  # fmt: skip
def test_often_worse_is_a_quarter_of_the_other_measures(
    tmp_path: Path, worse: int, better: int, alike: int, verdict: str
) -> None:
    others = ["text_similarity", "vendi", "precision", "recall", "attribute_recall", "vendi_2", "clip_iqa", "liqe"]
    others = others[: worse + better + alike]
    gains = dict(zip(others, [-2.0] * worse + [2.0] * better + [0.0] * alike, strict=True))

    def value(measure: str, algorithm: str, captions: str) -> float:
        return gains.get(measure, 2.0) * (algorithm == "lokr")

    measures = ["image_similarity/alter/clip", *(f"{name}/alter/clip" for name in others)]
    found = analyze_findings(tmp_path, value, measures=measures)
    assert found[0].verdict == verdict
    assert f"on {worse / len(others):.0%} of {len(others)} measures" in found[0].sentence


def test_noise_shows_nothing(tmp_path: Path) -> None:
    assert verdicts(analyze_findings(tmp_path, lambda *which: 0.0)) == ["not shown"] * 4


def test_a_table_without_such_runs_has_no_evidence(tmp_path: Path) -> None:
    found = analyze_findings(tmp_path, as_in_the_paper, algorithms=("lora", "dylora"))
    assert (found[0].verdict, found[0].evidence) == ("not shown", ())
    assert (found[3].verdict, found[3].evidence) == ("not shown", ())
    assert "no runs to test it on" in found[3].sentence


def test_one_concept_gives_numbers_but_no_verdict(tmp_path: Path) -> None:
    found = analyze_findings(tmp_path, as_in_the_paper, concepts=1)
    assert verdicts(found) == ["not shown"] * 4
    assert found[2].evidence


@pytest.mark.skipif(not (PAPER / "metrics_mean.csv").is_file(), reason="there is no published table")
def test_the_published_table_shows_the_second_and_half_of_the_first() -> None:
    ranking = rank_table(read_table(PAPER / "metrics_mean.csv", PAPER / "config_mapping.csv"))
    found = evaluate_findings(ranking, compute_effects(ranking))
    assert verdicts(found) == ["not shown", "holds", "not shown", "not shown"]
    assert found[0].evidence[:2] == (
        "image_similarity/alter of LoKr instead of LoRA −.05 [−.14, .03]",
        "image_similarity/alter of LoKr instead of LoHa +.19 [.12, .26]",
    )
    assert found[2].evidence == found[3].evidence == ()
