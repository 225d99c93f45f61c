"""Which version becomes champion after a study, and the lines about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import main
from flows.steps import register
from flows.steps.outcomes import RunOutcome, StudyOutcome
from flows.steps.register import Registration, _promote_best
from tasks.artifacts import ModelRef, RunSpec
from tasks.score import Scores
from tasks.tracking import registry
from tasks.tracking.adapter_runs import LoggedRun
from tasks.tracking.client import connect
from tests.tasks.tracking.small_study import SCORE, open_small_study

LEARNED = replace(SCORE, difference=0.2, difference_low=0.1, difference_high=0.3)
NOT_LEARNED = replace(SCORE, difference=0.2, difference_low=-0.1, difference_high=0.5)
BASE = ModelRef("pocket", "abc")


class Bear:
    """Studies of one concept, the first two of which are registered: versions 1 and 2, of two data versions."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.studies = {number: open_small_study(root, number) for number in (1, 2)}
        self.server = self.studies[1].server
        client = connect(self.server)
        client.create_registered_model("bear")
        for study in self.studies.values():
            tags = {"data.version": study.data_version.hash, "base": "pocket", "base.digest": "abc"}
            client.create_model_version("bear", "file:///nowhere", tags=tags)

    def finish(self, number: int, score: Any, base: ModelRef = BASE, promote: bool = True) -> None:
        """Finish a study whose only adapter has a score."""
        spec = RunSpec("bear", "lora", "none", number)
        file = self.root / f"{spec.name}.safetensors"
        file.touch()
        scores = Scores("key", [score], cached=True)
        unused: Any = None
        logged = LoggedRun("experiment", "run", str(number))
        run = RunOutcome(unused, unused, unused, scores, file, unused, unused, logged)
        outcome = StudyOutcome(self.studies[number], {spec: run})
        _promote_best(Registration(unused, outcome.study, base, self.root, "c0ffee", promote), "bear", outcome)
        assert outcome.choices["bear"].adapter == spec.name

    def aliases(self, number: int) -> tuple[str, ...]:
        return registry.get_version(self.server, f"bear@{number}").aliases


@pytest.fixture
def bear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bear:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    for task in (register.choose_champion, register.promote):
        monkeypatch.setattr(register, task.fn.__name__, task.fn)  # the same functions, without a server of Prefect's
    return Bear(tmp_path)


def test_an_adapter_that_learned_nothing_is_registered_without_being_champion(bear, tmp_path, capsys, caplog) -> None:
    bear.finish(1, NOT_LEARNED)
    assert bear.aliases(1) == ("challenger",)
    assert caplog.messages[-1] == (
        "bear: version 1 is stored, but not as the version to use; it does not become champion: no adapter of its "
        "study beats the base in fidelity, outside its interval and by enough to matter; "
        "`lycoris pull bear@challenger` fetches it"
    )
    assert main(["pull", "bear", "--output", str(tmp_path)]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "`bear` has no champion: no adapter of its study beats the base in fidelity, outside its interval" in error
    assert "`lycoris pull bear@challenger` fetches the best of the newest study, version 1, all the same" in error


def test_a_champion_stays_where_the_next_study_learned_nothing_and_goes_where_it_did(bear, caplog) -> None:
    bear.finish(1, LEARNED)
    assert bear.aliases(1) == ("challenger", "champion")
    bear.finish(2, NOT_LEARNED)
    assert (bear.aliases(1), bear.aliases(2)) == (("champion",), ("challenger",))
    assert caplog.messages[-1].endswith("version 1 stays champion")
    bear.finish(2, LEARNED)
    assert (bear.aliases(1), bear.aliases(2)) == (("previous",), ("challenger", "champion"))
    assert registry.get_version(bear.server, "bear").not_promoted is None


@pytest.mark.parametrize(
    ("number", "base", "reason"),
    [(2, BASE, "other data"), (2, replace(BASE, digest="f00d"), "other data"), (1, replace(BASE, digest="f00d"), None)],
)
def test_a_line_says_that_a_champion_of_other_data_is_replaced(bear, caplog, number, base, reason) -> None:
    bear.finish(1, LEARNED)
    bear.finish(number, LEARNED, base)
    replaced = [message for message in caplog.messages if "champion" in message]
    assert replaced == [
        f"bear: version 2 replaces champion 1, which was trained on {reason}; `lycoris rollback bear` returns to it"
    ] * (number == 2)


def test_a_line_says_that_a_champion_of_another_base_is_replaced(bear, caplog) -> None:
    client = connect(bear.server)
    client.set_model_version_tag("bear", "1", "data.version", bear.studies[2].data_version.hash)
    bear.finish(1, LEARNED)
    bear.finish(2, LEARNED, replace(BASE, digest="f00d"))
    assert "replaces champion 1, which was trained on another base, pocket;" in caplog.messages[-1]


def test_a_refresh_alone_decides_about_its_challenger(bear, caplog) -> None:
    bear.finish(1, NOT_LEARNED, promote=False)
    assert bear.aliases(1) == ("challenger",)
    assert registry.get_version(bear.server, "bear@1").not_promoted
    assert not [message for message in caplog.messages if "champion" in message]
