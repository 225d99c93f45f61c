"""The sealed studies of the paper's findings, tiny, on fresh concepts: sealed, run, and answered with verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lycoris.pocket.world.concept_images import write_concepts
from lycoris.pocket.world.fresh_concepts import fresh_concepts
from tests.e2e.tiny import run_lycoris

SMALL = (
    *("steps=2", "encoders=clip", "seeds=0", "captions=none,all", "sampling={steps: 2}", "strengths=[]"),
    "images={train: 3, trigger: 3, alter: 3, style: 2}",
)


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["parameters", "time"])
def test_the_study_runs_from_its_seal_to_verdicts_by_both_definitions(tmp_path: Path, budget: str) -> None:
    write_concepts(tmp_path / "data", tmp_path / "tags.json", fresh_concepts(1))
    settings = [f"data={tmp_path / 'data'}", f"output={tmp_path / 'runs'}", *SMALL]
    options = [word for setting in settings for word in ("--set", setting)]
    done = run_lycoris("study", f"findings_{budget}", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / "runs" / f"findings-{budget}"
    record = json.loads((folder / "expectations.json").read_text())
    assert record["confirms"]
    assert len(record["expectations"]) == 12
    assert {one["verdict"] for one in record["expectations"]} <= {"confirmed", "contradicted", "not confirmed"}
    assert "text_similarity/trigger" in json.dumps(record["expectations"])
    assert len(json.loads((folder / "study.json").read_text())["adapters"]) == 3 * 4 * 2
    page = (folder / "answer.html").read_text()
    assert 0 < page.index("What was expected, and what was confirmed") < page.index("The answer")
    again = run_lycoris("study", f"findings_{budget}", *options)
    assert again.returncode == 0, again.stderr[-3000:]
    assert json.loads((folder / "expectations.json").read_text())["seals"] == record["seals"]
