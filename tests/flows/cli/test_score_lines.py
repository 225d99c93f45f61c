"""What `lycoris score` prints: the paired difference that decides, one score for each dimension."""

from __future__ import annotations

from typing import Any

from flows.cli.score import headline_scores, score_digits, score_lines, summary_lines
from lycoris.analysis.text.formatting import format_interval, format_number
from lycoris.report.run.scores import reported_measures


def score(name: str, dimension: str, difference: float | None, **more: Any) -> dict[str, Any]:
    known = {} if difference is None else {"difference_low": difference - 0.1, "difference_high": difference + 0.1}
    return {
        "name": name, "dimension": dimension, "value": 0.547, "low": 0.122, "high": 0.972, "base": 0.362,
        "difference": difference, "difference_low": None, "difference_high": None, "higher_is_better": True,
        "verdict": None if difference is None else "better" if difference > 0.1 else "no difference shown", "note": "",
        **known, **more,
    }  # fmt: skip


SCORES = [
    score("image_similarity/alter/clip", "fidelity", 0.05),
    score("vendi/trigger/clip", "diversity", None, note="one image"),
    score("image_similarity/trigger/clip", "fidelity", 0.185),
    score("style_loss/style/vgg", "preservation", 0.547, base=0, higher_is_better=False, verdict="worse"),
]
DIGITS = score_digits([{each["name"]: each for each in SCORES}])


def test_numbers_look_as_on_the_page() -> None:
    each = score("image_similarity/trigger/clip", "fidelity", -0.08)
    (line,) = score_lines([each], DIGITS)
    measure = next(iter(reported_measures({"adapters": [{"scores": {each["name"]: each}}]})))
    assert DIGITS[each["name"]] == measure.digits
    assert f"{format_number(-0.08, measure.digits, signed=True)} {format_interval(-0.18, 0.02, measure.digits)}" in line
    assert "−.080 [−.180, .020]" in line


def test_the_difference_that_decides_stands_beside_the_verdict() -> None:
    (line,) = score_lines([SCORES[2]], DIGITS)
    assert line.split() == [
        *("fidelity", "+.185", "[.085,", ".285]", "better", ".547", "beside", ".362"),
        "image_similarity/trigger/clip",
    ]


def test_an_interval_of_the_value_never_stands_beside_a_verdict() -> None:
    assert not any(".972" in line for line in score_lines(SCORES[:3], DIGITS, verbose=True))


def test_a_long_note_does_not_run_into_the_next_column() -> None:
    note = "an interval needs 3 images, got 2"
    noted = score("vendi/trigger/clip", "diversity", None, note=note)
    first, second = score_lines([noted, SCORES[2]], DIGITS)
    assert f"{note}  " in first
    assert first.index("beside") == second.index("beside")


def test_a_distance_from_the_base_is_not_called_worse_than_it() -> None:
    (line,) = score_lines([SCORES[3]], DIGITS)
    assert "worse" not in line
    assert line.endswith("a distance from the base")


def test_a_dimension_has_one_line_in_the_order_of_reports() -> None:
    names = [each["name"] for each in headline_scores(SCORES)]
    assert names == ["image_similarity/trigger/clip", "vendi/trigger/clip", "style_loss/style/vgg"]


def test_the_summary_has_every_file_and_pair_and_all_scores_on_request() -> None:
    by_name = {each["name"]: each for each in SCORES}
    result = {
        "adapters": [{"file": "a", "concept": "c", "scores": by_name}, {"file": "b", "error": "broken"}],
        "differences": [{"first": "a", "second": "b", "scores": by_name}],
        "report": "page.html",
    }
    lines = summary_lines(result, verbose=False)
    assert "a: c, differences to the base" in lines
    assert "b: broken, differences to the base" not in lines
    assert "a beside b: 2 of 4 differences shown" in lines
    assert lines[-1] == "page.html"
    assert len(summary_lines(result, verbose=True)) == len(lines) + 1  # one more score twice, one remark less
