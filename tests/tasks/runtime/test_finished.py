"""A search finds finished work, computes nothing, and reports only what is finished as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from lycoris.cache.keys import stage_key
from lycoris.cache.store import Store
from tasks.artifacts import RunContext
from tasks.runtime import finished, progress, resources
from tasks.runtime.cache import get_or_compute

INPUTS = {"number": 3}


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(tmp_path / "store", tmp_path / "progress")


def step(context: RunContext, computed: list[Path] | None = None) -> Path:
    def compute(folder: Path, bar: progress.StepProgress) -> None:
        (folder / "value").write_text("9")
        if computed is not None:
            computed.append(folder)

    return get_or_compute(context, "squares", "of 3", INPUTS, compute).folder


def lines(context: RunContext) -> int:
    assert isinstance(context.progress, Path)
    return len(list(context.progress.glob("*.done")))


def test_a_search_neither_computes_nor_waits_for_another_process(context: RunContext) -> None:
    computed: list[Path] = []
    store = Store(context.store)
    with store.lock(stage_key("squares", INPUTS)), pytest.raises(finished.NotFinishedError), finished.search():
        step(context, computed)
    assert not computed
    assert lines(context) == 0


def test_a_search_finds_finished_work_and_reports_it_when_its_caller_says_so(context: RunContext) -> None:
    folder = step(context)
    before = lines(context)
    with finished.search() as reports:
        assert step(context) == folder
    assert lines(context) == before
    for report in reports:
        report()
    assert lines(context) == before + 1


def test_damaged_work_is_not_finished_and_is_computed_again_after_the_search(context: RunContext) -> None:
    file = step(context) / "value"
    file.write_text("8")
    with pytest.raises(finished.NotFinishedError), finished.search():
        step(context)
    assert (step(context) / "value").read_text() == "9"


def test_nothing_that_needs_the_processor_alone_runs_in_a_search(context: RunContext) -> None:
    with finished.search(), pytest.raises(finished.NotFinishedError), resources.exclusive_compute(context, gpu=False):
        raise AssertionError("the block was entered")
