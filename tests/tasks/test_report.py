"""A page depends on the results of a study, not on when it ran or on what was cached."""

from __future__ import annotations

from typing import Any

from tasks.report import report_inputs

STUDY: dict[str, Any] = {
    "title": "Study",
    "created": "2026-11-30T20:00:00+00:00",
    "seconds": 67.0,
    "adapters": [{"name": "a", "cached": False, "scores": {"vendi": {"value": 1.0}}}],
}


def test_a_page_depends_on_results_and_not_on_times_or_on_what_was_cached() -> None:
    again = {**STUDY, "created": "later", "seconds": 8.0, "adapters": [{**STUDY["adapters"][0], "cached": True}]}
    assert report_inputs(again) == report_inputs(STUDY)
    other = {**STUDY, "adapters": [{**STUDY["adapters"][0], "scores": {"vendi": {"value": 2.0}}}]}
    assert report_inputs(other)["results"] != report_inputs(STUDY)["results"]
    assert report_inputs({**STUDY, "title": "Other"})["results"] != report_inputs(STUDY)["results"]
