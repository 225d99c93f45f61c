"""The strength sweep of a champion: which images are generated, and what a failure leaves."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.config.experiment import Experiment
from flows.steps import strength as module
from flows.steps.futures import BaseFutures, EvaluationFutures, TrainingFutures
from flows.steps.outcomes import StrengthSweep
from flows.steps.strength import count_sweep_steps, other_strengths, strength_record, sweep_adapter, sweep_prompts
from flows.studies.plan import sweep_image_count
from lycoris.analysis.decisions.strength import STRENGTH_RULE, StrengthChoice, StrengthScore
from lycoris.data.prompt_spec import PromptSpec
from tasks.artifacts import Artifact
from tasks.generate import write_prompts
from tests.flows.steps.test_evaluate import SETUP, candidate

PROMPTS = {
    kind: tuple(PromptSpec(f"{kind} {number}", "", number) for number in range(count))
    for kind, count in {"trigger": 10, "alter": 20, "style": 5}.items()
}
CHOICE = StrengthChoice(0.8, 0.6, 1.0, 16, tuple(StrengthScore(value, value / 2, {}) for value in (0.0, 0.8, 1.0)))


def images(folder: Path, prompts=PROMPTS) -> Artifact:
    """A stage of images, of which only the prompts are read."""
    folder.mkdir()
    write_prompts(folder, prompts)
    return Artifact("key", folder, cached=False, seconds=0)


def test_a_few_prompts_of_the_deciding_types_are_evenly_chosen() -> None:
    chosen = sweep_prompts(PROMPTS)
    assert {kind: [prompt.seed for prompt in some] for kind, some in chosen.items()} == {
        "trigger": [0, 1, 2, 3, 5, 6, 7, 8],
        "alter": [0, 2, 5, 7, 10, 12, 15, 17],
    }
    assert sweep_prompts({"style": PROMPTS["style"]}) == {}


def test_strength_one_is_not_generated_again_and_none_turns_the_sweep_off() -> None:
    assert other_strengths(Experiment(strengths=[0.5, 1, 1.5])) == (0.5, 1.5)
    assert sweep_image_count(Experiment(strengths=[0.5, 1, 1.5])) == 2 * 16
    off = Experiment(strengths=[])
    assert (other_strengths(off), sweep_image_count(off), count_sweep_steps(())) == ((), 0, 0)
    with pytest.raises(ValueError, match="less than or equal to 2"):
        Experiment(strengths=[3])


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """The submitted steps as (task, label, options); the choice of a strength is `CHOICE`."""
    submitted = []

    def submit(task, context, label, *arguments, **options):
        submitted.append((task.name, label, options))
        stage = SimpleNamespace(key="key", folder=tmp_path)
        return SimpleNamespace(result=lambda **_: CHOICE if task.name == "strength" else stage)

    monkeypatch.setattr(module, "submit", submit)
    monkeypatch.setattr(module, "ensure_local", lambda _, stage: stage)
    return submitted


def futures() -> EvaluationFutures:
    stage = SimpleNamespace(result=lambda **_: SimpleNamespace(key="own"))
    return EvaluationFutures({"resize": "references"}, BaseFutures((stage,), "base"), None, stage, "own features", {})


def test_each_strength_is_generated_and_encoded_once(steps) -> None:
    one = replace(candidate("bear", adapter=TrainingFutures("adapter")), prompts=PROMPTS, checkpoint=3)
    sweep = sweep_adapter(SETUP, (0.6, 1.2), one, futures())
    assert sweep is not None
    assert sweep.choice is CHOICE
    assert set(sweep.images) == {0.0, 0.6, 1.0, 1.2}
    assert len(steps) == count_sweep_steps((0.6, 1.2))
    generated = [options for name, _, options in steps if name == "images"]
    assert [(one["strength"], one["adapter"], one["checkpoint"]) for one in generated] == [
        (0.6, "adapter", 3),
        (1.2, "adapter", 3),
    ]
    assert all(one["prompts"] == sweep_prompts(PROMPTS) for one in generated)
    (chosen,) = [options for name, _, options in steps if name == "strength"]
    assert (chosen["references"], chosen["base"], chosen["adapter"]) == ("references", "base", "own features")


def test_without_strengths_or_prompts_nothing_is_submitted(steps, caplog) -> None:
    one = candidate("bear")
    assert sweep_adapter(SETUP, (), replace(one, prompts=PROMPTS), futures()) is None
    assert not caplog.messages
    assert sweep_adapter(SETUP, (0.6,), replace(one, prompts={"style": PROMPTS["style"]}), futures()) is None
    assert "no images of the prompt types trigger and alter" in caplog.text
    assert not steps


def test_a_sweep_that_fails_is_a_warning(steps, monkeypatch, caplog) -> None:
    def fail(**_):
        raise ValueError("the disk is full")

    monkeypatch.setattr(module, "submit", lambda *_, **__: SimpleNamespace(result=fail))
    monkeypatch.setattr(module, "root_cause", lambda error, _: str(error))
    assert sweep_adapter(SETUP, (0.6,), replace(candidate("bear"), prompts=PROMPTS), futures()) is None
    assert "no strength is recommended: the disk is full" in caplog.text


def test_the_report_gets_one_image_of_each_strength_of_one_prompt_and_seed(tmp_path) -> None:
    own, few = (
        images(tmp_path / "own"),
        images(tmp_path / "few", sweep_prompts({**PROMPTS, "alter": PROMPTS["alter"][5:]})),
    )
    record = strength_record(StrengthSweep(CHOICE, {0.0: own, 0.8: few, 1.0: own}))
    assert (record["value"], record["low"], record["high"], record["rule"]) == (0.8, 0.6, 1.0, STRENGTH_RULE)
    assert [point["image"] for point in record["points"]] == [
        str(own.folder / "alter" / "005.png"),
        str(few.folder / "alter" / "000.png"),
        str(own.folder / "alter" / "005.png"),
    ]
