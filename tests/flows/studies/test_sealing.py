"""Sealed studies: the seal comes before the results, holds definitions and concepts, and decides what is confirmed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.main import main
from flows.studies import sealing
from flows.studies.answer import write_study_answer
from flows.studies.definition import Study, load_study
from flows.studies.sealing import (
    SEAL_FILE,
    Seal,
    compare_with_seal,
    has_results,
    read_seals,
    seal_study,
    study_parts,
    write_seals,
)
from lycoris import pocket
from lycoris.analysis.statistics.expectations import Expectation
from lycoris.errors import InputError

EXPECT = [
    {"metric": "fidelity", "direction": "higher", "captions": ["none", "all"]},
    {"metric": "text_similarity", "direction": "lower", "captions": ["none", "all"],
     "where": {"prompt_type": "alter", "algorithm": ["lora", "lokr"]}, "smallest_difference": 0.05},
]  # fmt: skip


def write_file(folder: Path, **changes: Any) -> Path:
    experiment = {"name": "small", "concepts": ["bop", "castle"], "algorithms": ["lora", "lokr"],
                  "captions": ["none", "all"], "data": str(folder / "data"), "output": str(folder / "runs"),
                  **changes.pop("experiment", {})}  # fmt: skip
    content = {"question": "Does it?", "factor": "captions", "expect": EXPECT, "experiment": experiment, **changes}
    (folder / "small.yaml").write_text(yaml.safe_dump(content))
    return folder / "small.yaml"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A study of two concepts, with their images."""
    for name in ("movie_characters/bop", "scenes/castle", "concepts.yaml"):
        source, target = pocket.IMAGES / name, tmp_path / "data" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    document = yaml.safe_load((tmp_path / "data/concepts.yaml").read_text())
    document["concepts"] = {name: document["concepts"][name] for name in ("bop", "castle")}
    (tmp_path / "data/concepts.yaml").write_text(yaml.safe_dump(document))
    write_file(tmp_path)
    return tmp_path


def load(project: Path, **changes: Any) -> Study:
    return load_study(str(write_file(project, **changes)))


def sealed(project: Path, *, replace: bool = False, **changes: Any) -> sealing.SealState:
    return seal_study(load(project, **changes), project / "data", replace=replace)


def test_a_study_file_holds_expectations(project: Path) -> None:
    first, second = load(project).expect
    assert first == Expectation("fidelity", "higher", "captions", "none", "all")
    assert second.where == {"prompt_type": ("alter",), "algorithm": ("lora", "lokr")}
    assert (second.sign, second.smallest_difference) == (-1, 0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"expect": {}}, "must be a list"), ({"expect": []}, "must be a list"),
     ({"expect": [{"metric": "fidelity", "direction": "higher"}]}, "got no factor"),
     ({"expect": [{**EXPECT[0], "captoins": ["none", "all"]}]}, "one factor"),
     ({"expect": [{**EXPECT[0], "captions": "none"}]}, "two levels"),
     ({"expect": [{"metric": "fidelity", "direction": "higher", "captoins": ["none", "all"]}]}, "Did you mean"),
     ({"expect": [{**EXPECT[0], "metric": "fidelty"}]}, "Did you mean `fidelity`"),
     ({"expect": [{**EXPECT[0], "where": ["x"]}]}, "`where` must hold"),
     ({"expect": [{**EXPECT[0], "smallest_difference": "x"}]}, "must be a number")],
)  # fmt: skip
def test_an_invalid_expectation_is_an_error_that_names_the_fault(project: Path, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(project, **change)


def test_an_expectation_of_what_the_study_does_not_have_is_an_error_before_the_seal(project: Path) -> None:
    for change in (
        {"captions": ["sentence", "all"]},
        {"where": {"concept": "castel"}},
        {"where": {"algorithm": "loha"}},
    ):
        with pytest.raises(InputError, match="of an expectation of this study"):
            sealed(project, expect=[{**EXPECT[0], **change}])
    assert not (project / "runs/small" / SEAL_FILE).exists()


def test_a_seal_is_made_once_and_found_again(project: Path) -> None:
    state = sealed(project)
    assert state.confirms
    assert set(state.current.parts) == {
        "question", "expectations", "definitions", "concepts", "seeds", "experiment", "code"
    }  # fmt: skip
    assert "metrics/registry.py" in state.current.parts["definitions"]
    assert set(state.current.parts["concepts"]) == {"bop", "castle"}
    again = sealed(project)
    assert again == state
    assert read_seals(project / "runs/small") == (state.current,)
    assert sealed(project, experiment={"workers": 1}) == state  # how the work is done is not sealed


@pytest.mark.parametrize(
    ("change", "name"),
    [({"question": "Is it?"}, "question"), ({"expect": EXPECT[:1]}, "expectations"),
     ({"experiment": {"seeds": [0, 1]}}, "seeds"), ({"experiment": {"concepts": ["bop"]}}, r"concepts \(castle\)"),
     ({"experiment": {"steps": 9}}, r"experiment \(steps\)"), ({"match_budget": "time"}, r"\(match_budget\)")],
)  # fmt: skip
def test_a_study_that_differs_from_its_seal_does_not_run_without_a_new_one(
    project: Path, change: Any, name: str
) -> None:
    first = sealed(project).current
    with pytest.raises(InputError, match=f"differs from its seal.*: {'.*' if name.startswith(chr(92)) else ''}{name}"):
        sealed(project, **change)
    state = sealed(project, replace=True, **change)
    assert state.seals[0] == first
    assert len(state.seals) == 2
    assert state.confirms
    assert sealed(project, **change) == state


def test_changed_images_words_captions_and_definitions_differ_from_the_seal(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed(project)
    caption = project / "data/scenes/castle/00.txt"
    caption.write_text("castle")
    with pytest.raises(InputError, match=r"concepts \(castle\)"):
        sealed(project)
    caption.unlink()
    sealed(project)
    source_hash = sealing.source_hash
    monkeypatch.setattr(sealing, "source_hash", lambda name: f"{source_hash(name)}{name == 'metrics/fidelity.py'}")
    with pytest.raises(InputError, match=r"definitions \("):
        sealed(project)


def test_a_change_of_other_code_is_reported_and_needs_no_new_seal(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed(project)
    monkeypatch.setattr(sealing, "code_version", lambda: "another commit")
    state = sealed(project)
    assert state.code_changes == ("code (version)",)
    assert state.confirms
    assert len(state.seals) == 1


def test_a_seal_that_was_changed_is_an_error(project: Path) -> None:
    sealed(project)
    file = project / "runs/small" / SEAL_FILE
    file.write_text(file.read_text().replace('"Does it?"', '"Does it not?"'))
    with pytest.raises(InputError, match="was changed"):
        sealed(project)
    file.write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        sealed(project)


@pytest.mark.parametrize("begun", ["small/experiment.json", "small/scores.csv", "small-2/scores.csv"])
def test_a_seal_that_is_younger_than_the_study_confirms_nothing(project: Path, begun: str) -> None:
    file = project / "runs" / begun
    file.parent.mkdir(parents=True)
    assert not has_results(project / "runs/small")
    file.write_text("")
    assert has_results(project / "runs/small")
    assert not sealed(project).confirms


def test_a_study_without_expectations_is_not_sealed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="nothing to seal"):
        sealed(project, expect=None)
    for option in ("--seal", "--new-seal"):
        assert main(["study", str(project / "small.yaml"), option]) == 2
        assert f"`{option}` needs a study with `expect:`" in capsys.readouterr().err
    write_file(project)
    assert main(["study", str(project / "small.yaml"), "--seal", "--from", str(project)]) == 2
    assert main(["study", str(project / "small.yaml"), "--budget", "3"]) == 2
    assert "cannot be searched" in capsys.readouterr().err


@pytest.fixture
def finished(project: Path) -> Path:
    """The folder of the finished study with its scores; made up, and without images."""
    folder = project / "runs/small"
    folder.mkdir(parents=True)
    lines = ["category,concept,algorithm,captions,seed,name,value"]
    for concept in range(8):
        for algorithm in ("lora", "lokr"):
            for captions in ("none", "all"):
                better = (captions == "none") + concept / 100
                lines += [f"toys,c{concept},{algorithm},{captions},0,image_similarity/alter/clip,{better}",
                          f"toys,c{concept},{algorithm},{captions},0,text_similarity/alter/clip,{better}"]  # fmt: skip
    (folder / "scores.csv").write_text("\n".join(lines))
    (folder / "study.json").write_text(
        json.dumps({"title": "Study small", "concepts": [], "bases": [], "adapters": []})
    )
    return folder


def seal_as_if_before(study: Study, folder: Path, **changes: Any) -> None:
    parts = {**study_parts(study, folder.parents[1] / "data"), **changes}
    write_seals(folder, [Seal("2026-11-30T16:00:00+00:00", parts, after_results=False)])


def test_the_page_begins_with_what_was_confirmed(finished: Path) -> None:
    study = load(finished.parents[1])
    seal_as_if_before(study, finished)
    result = write_study_answer(study, finished)
    lines = result["expected"]
    assert (
        lines[0]
        == "Of 2 expectations that were sealed before the study ran: 1 confirmed, 1 contradicted, 0 not confirmed."
    )
    assert lines[1].startswith("Confirmed: fidelity higher with `none` than with `all`: +")
    assert lines[2].startswith("Contradicted: text similarity lower by more than 0.05")
    page = Path(result["answer"]).read_text()
    assert 0 < page.index("What was expected, and what was confirmed") < page.index("The answer")
    assert "Everything else on this page is exploration" in page
    [seal] = read_seals(finished)
    assert seal.hash in page
    record = json.loads((finished / "expectations.json").read_text())
    assert record["confirms"]
    assert [one["verdict"] for one in record["expectations"]] == ["confirmed", "contradicted"]


def test_without_a_valid_seal_before_the_study_all_is_exploration(finished: Path) -> None:
    study = load(finished.parents[1])
    reasons = []
    for prepare in (
        lambda: None,
        lambda: seal_study(study, finished.parents[1] / "data"),
        lambda: seal_as_if_before(study, finished, definitions={"metrics/fidelity.py": "another"}),
    ):
        prepare()
        lines = write_study_answer(study, finished)["expected"]
        reasons.append(lines[0].partition(":")[0])
        assert "Confirmed" not in " ".join(lines)
        assert lines[1].startswith("Exploration: fidelity higher with `none` than with `all`: +")
    assert reasons[0] == "This study was not sealed before it ran"
    assert reasons[1] == "This study was sealed when it had begun already"
    assert reasons[2].startswith("The study differs from its seal (definitions (metrics/fidelity.py, ")


def test_replaced_seals_are_listed_on_the_page(finished: Path) -> None:
    study = load(finished.parents[1])
    parts = study_parts(study, finished.parents[1] / "data")
    seals = [Seal("2026-11-29T16:00:00+00:00", {**parts, "question": "Before?"}, after_results=False),
             Seal("2026-11-30T16:00:00+00:00", parts, after_results=False)]  # fmt: skip
    write_seals(finished, seals)
    page = Path(write_study_answer(study, finished)["answer"]).read_text()
    assert page.index(seals[1].hash) < page.index("Earlier seal, replaced") < page.index(seals[0].hash)


def test_parts_that_are_not_known_are_not_compared() -> None:
    seal = Seal("2026-11-30T16:00:00+00:00", {"question": "a", "seeds": [0], "code": {"version": "1"}}, False)
    assert compare_with_seal([seal], {"question": "a"}).confirms
    state = compare_with_seal([seal], {"question": "b", "code": {"version": "2"}})
    assert (state.differences, state.code_changes, state.confirms) == (("question",), ("code (version)",), False)


def test_only_sealing_writes_the_file_and_a_run_in_mlflow(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tasks.tracking.client import connect, tracking_server

    for _ in range(2):  # the second time nothing is added
        assert main(["study", str(project / "small.yaml"), "--seal"]) == 0
    [seal] = read_seals(project / "runs/small")
    assert seal.hash in capsys.readouterr().out
    client = connect(tracking_server(project / "runs"))
    [run] = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert (run.data.tags["study.seal"], run.info.status) == (seal.hash, "FINISHED")
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == [SEAL_FILE]
    assert "fidelity higher with `none` than with `all`" in run.data.tags["mlflow.note.content"]
