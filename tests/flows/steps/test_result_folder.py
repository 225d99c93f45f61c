"""An experiment has its own result folder: another one under the same name goes beside it and says so."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from flows.config.experiment import Experiment
from flows.steps.result_folder import DataContent, claim_folder, data_content
from flows.steps.result_folder import claim_experiment_folder as claim
from lycoris.cache.atomic import temporary_path
from tasks.artifacts import CaptionedConcept


def experiment(tmp_path: Path, **options: object) -> Experiment:
    values = {"name": "mine", "output": tmp_path / "runs", "data": tmp_path / "photos", "concepts": ["a"], **options}
    return Experiment.model_validate(values)


DATA = DataContent("v1", {"images of a": "1"})


def claim_experiment_folder(experiment: Experiment, content: DataContent = DATA, **options: bool) -> Path:
    return claim(experiment, content, **options)


def finish(folder: Path) -> Path:
    (folder / "report.html").write_text("page")
    return folder


def test_the_same_experiment_has_the_same_folder(tmp_path: Path) -> None:
    first = finish(claim_experiment_folder(experiment(tmp_path)))
    assert first == tmp_path / "runs" / "mine"
    assert claim_experiment_folder(experiment(tmp_path, workers=1)) == first


def test_more_concepts_and_seeds_are_the_same_experiment(tmp_path: Path) -> None:
    first = finish(claim_experiment_folder(experiment(tmp_path)))
    assert claim_experiment_folder(experiment(tmp_path, concepts=["b", "a"], seeds=[0, 1])) == first
    assert claim_experiment_folder(experiment(tmp_path, concepts=["b"])) == tmp_path / "runs" / "mine-2"


@pytest.mark.parametrize("options", [{"steps": 9}, {"data": Path("elsewhere")}, {"concepts": ["b"]}, {"data_rev": "x"}])
def test_another_experiment_goes_beside_and_says_so(
    tmp_path: Path, options: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    first = finish(claim_experiment_folder(experiment(tmp_path)))
    with caplog.at_level(logging.WARNING, logger="lycoris"):
        second = finish(claim_experiment_folder(experiment(tmp_path, **options)))
    assert second == tmp_path / "runs" / "mine-2"
    assert f"{first} holds another experiment ({next(iter(options))} " in caplog.text
    assert claim_experiment_folder(experiment(tmp_path, **options)) == second
    assert claim_experiment_folder(experiment(tmp_path)) == first
    assert claim_experiment_folder(experiment(tmp_path, steps=77)) == tmp_path / "runs" / "mine-3"


def test_a_folder_that_was_moved_with_its_data_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    finish(claim_experiment_folder(experiment(tmp_path / "old")))
    (tmp_path / "old").rename(tmp_path / "new")
    assert claim_experiment_folder(experiment(tmp_path / "new")) == tmp_path / "new" / "runs" / "mine"


def test_the_folder_of_an_earlier_version_is_known_by_its_study(tmp_path: Path) -> None:
    own = experiment(tmp_path)
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    finish(folder)
    assert claim_experiment_folder(own) == tmp_path / "runs" / "mine-2"  # nothing says what it holds
    (folder / "study.json").write_text(json.dumps({"settings": own.model_dump(mode="json"), "data_version": "v1"}))
    assert claim_experiment_folder(own) == folder

    assert claim_experiment_folder(own, DataContent("v2", {})) == tmp_path / "runs" / "mine-3"  # other data


def captioned(name: str, images: str = "1", **captions: tuple[str, ...]) -> CaptionedConcept:
    return CaptionedConcept(
        name, "toys", "ohw", "bear", "a bear", (), images, (), captions, {}, (), cached=True, skipped_images={}
    )


BEAR = captioned("bear", none=("ohw bear",))


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ([captioned("bear", images="2", none=("ohw bear",))], "other images of bear"),
        ([captioned("bear", none=("ohw bear, hat",))], "other captions `none` of bear"),
        ([captioned("cat", none=("ohw cat",))], "no images of bear"),
    ],
)
def test_other_images_or_captions_go_beside_and_replace_nothing(tmp_path: Path, caplog, changed, difference) -> None:
    own = experiment(tmp_path)
    first = finish(claim(own, data_content([BEAR], "v1")))
    with caplog.at_level(logging.WARNING, logger="lycoris"):
        second = finish(claim(own, data_content(changed, "v2")))
    assert second == tmp_path / "runs" / "mine-2"
    assert f"{first} holds another experiment ({difference}" in caplog.text
    assert claim(own, data_content(changed, "v2")) == second
    assert claim(own, data_content([BEAR], "v3")) == first  # something else of the folder changed


def test_more_concepts_and_captions_of_the_same_images_are_the_same_data(tmp_path: Path) -> None:
    first = finish(claim(experiment(tmp_path), data_content([BEAR], "v1")))
    more = captioned("bear", none=("ohw bear",), all=("ohw bear, hat",))
    assert claim(experiment(tmp_path), data_content([more, captioned("cat")], "v2")) == first


def test_a_search_of_other_data_goes_beside_with_its_parts(tmp_path: Path) -> None:
    own = experiment(tmp_path)
    first = finish(claim(own, DataContent("v1", {}), searched=True))
    second = finish(claim(own, DataContent("v2", {}), searched=True))
    assert (first.name, second.name) == ("mine", "mine-2")
    for version, folder in (("v1", first), ("v2", second)):
        assert claim(own, data_content([BEAR], version), is_part=True) == folder


def test_the_parts_of_a_search_share_its_folder(tmp_path: Path) -> None:
    whole, part = experiment(tmp_path, seeds=[0, 1]), experiment(tmp_path)
    folder = finish(claim_experiment_folder(whole, searched=True))
    assert claim_experiment_folder(part, is_part=True) == folder
    assert claim_experiment_folder(part) != folder
    assert claim_experiment_folder(whole, searched=True) == folder
    assert claim_experiment_folder(whole) == folder
    assert claim_experiment_folder(whole, searched=True) != folder  # a search would replace the whole by a part


def test_other_settings_than_an_experiments_are_compared_as_they_are(tmp_path: Path) -> None:
    first = finish(claim_folder(tmp_path, "score-x", {"files": ["a"]}))
    assert claim_folder(tmp_path, "score-x", {"files": ["a"]}) == first
    assert claim_folder(tmp_path, "score-x", {"files": ["b"]}) == tmp_path / "score-x-2"


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    first = claim_folder(tmp_path, "mine", {"steps": 1})
    alive = temporary_path(first / "sheets", "a.png")
    dead = alive.with_name(alive.name.replace(f"-{os.getpid()}-", "-999999999-"))
    for path in (alive, dead):
        path.mkdir(parents=True)
    assert claim_folder(tmp_path, "mine", {"steps": 1}) == first
    assert alive.is_dir()
    assert not dead.exists()
