"""`lycoris init` makes a project and replaces no file; without repositories the data's version is recorded as well."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from flows.cli.main import main
from flows.config import project
from flows.config.loading import load_experiment
from flows.config.new_project import create_project
from lycoris import pocket
from lycoris.data.concepts import load_concepts
from lycoris.errors import InputError
from tasks.data_versions.checkout import ensure_version
from tasks.data_versions.manifest import build_manifest, manifest_hash, read_pointer

BOP = pocket.IMAGES / "movie_characters" / "bop"
POCKET = manifest_hash(json.loads(pocket.MANIFEST.read_bytes()))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three images and a caption in one folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("00", "01", "02"):
        shutil.copy(BOP / f"{name}.png", folder)
    (folder / "00.txt").write_text("green, antenna")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_project_has_the_images_of_the_pocket_and_runs_as_it_is(tmp_path: Path) -> None:
    made = create_project(tmp_path / "new")
    assert made.created == ["experiment.yaml", "prefect.yaml", "data/", "data.dvc"]
    assert made.data_version == POCKET == read_pointer(made.folder / "data.dvc")
    assert load_experiment(made.folder / "experiment.yaml", ()).name == "pocket"
    assert len(load_concepts(made.folder / "data")) == len(load_concepts(pocket.IMAGES))


def test_images_are_copied_with_their_captions_into_the_layout(photos: Path, tmp_path: Path) -> None:
    made = create_project(tmp_path / "bear", photos)
    (concept,) = load_concepts(made.folder / "data")
    folder = made.folder / "data" / concept.category / "photos"
    assert {path.name for path in folder.iterdir()} == {"00.png", "01.png", "02.png", "00.txt"}
    assert (made.folder / "data" / "concepts.yaml").is_file()
    assert concept.trigger == load_concepts(photos)[0].trigger
    assert load_experiment(made.folder / "experiment.yaml", ()).name == "bear"
    assert "\n# base: FOLDER_OR_HUB_NAME\n" in (made.folder / "experiment.yaml").read_text()
    assert "data/concepts.yaml" in made.created
    assert made.kept == []
    assert files(photos).keys() == {"00.png", "01.png", "02.png", "00.txt"}


def test_the_command_names_what_comes_next_from_where_it_was_called(
    photos: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "bear", "--from", str(photos)]) == 0
    assert capsys.readouterr().out.endswith("Next: cd bear && lycoris run experiment.yaml\n")
    monkeypatch.chdir("bear")
    assert main(["init"]) == 0
    assert capsys.readouterr().out.endswith("Next: lycoris run experiment.yaml\n")


def test_a_folder_with_a_concepts_file_keeps_its_layout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(BOP, source / "films" / "bop")
    (source / "concepts.yaml").write_text(
        "concepts: {bop: {category: films, trigger: zkq, class_noun: alien, keep: [green]}}"
    )
    made = create_project(tmp_path / "new", source)
    assert files(made.folder / "data") == files(source)


def test_no_file_is_replaced(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    create_project(folder, photos)
    for name in ("experiment.yaml", "prefect.yaml", "data/concepts.yaml"):
        (folder / name).write_text((folder / name).read_text() + "# mine\n")
    before = files(folder)
    again = create_project(folder)
    assert again.created == []
    assert files(folder) == before
    with pytest.raises(InputError, match="exists already"):
        create_project(folder, photos)


def test_a_folder_without_images_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        create_project(tmp_path / "new", tmp_path / "source")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("has_photos", [True, False], ids=["photos", "the pocket's images"])
def test_repositories_on_request_store_the_first_version(has_photos, photos: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "new"
    source = ("--from", str(photos)) if has_photos else ()
    assert main(["init", str(folder), *source, "--git", "--dvc", "--json"]) == 0
    version = json.loads(capsys.readouterr().out.splitlines()[-1])["data_version"]
    assert version == read_pointer(folder / "data.dvc") == manifest_hash(build_manifest(folder / "data")[0])
    assert (folder / ".dvc" / "cache" / "files" / "md5" / version[:2] / version[2:]).is_file()
    ignored = subprocess.run(["git", "check-ignore", "data", "runs/"], cwd=folder, capture_output=True, text=True)
    assert ignored.stdout.split() == ["data", "runs/"]
    (output,) = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]["customize"]["outs"]
    assert list(output) == [f"runs/{load_experiment(folder / 'experiment.yaml', ()).name}/scores.csv"]


def test_without_repositories_a_changed_version_is_recorded(photos: Path, tmp_path: Path, caplog) -> None:
    folder = create_project(tmp_path / "new").folder
    shutil.copy(photos / "00.txt", folder / "data" / "movie_characters" / "bop" / "00.txt")
    with caplog.at_level("INFO", "lycoris.data"):
        version = ensure_version(folder / "data", folder)
    assert version.hash == read_pointer(folder / "data.dvc") != POCKET
    assert "lycoris init --dvc" in caplog.text


def test_data_in_no_repository_has_a_version_and_the_log_names_where_it_is(
    photos: Path, tmp_path: Path, caplog
) -> None:
    data = tmp_path / "new" / "data" / "toys" / "bop"
    shutil.copytree(photos, data)
    with caplog.at_level("INFO", "lycoris.data"):
        version = ensure_version(tmp_path / "new" / "data", tmp_path / "new")
    assert version.hash == manifest_hash(build_manifest(tmp_path / "new" / "data")[0])
    assert version.hash in caplog.text
    assert not (tmp_path / "new" / "data.dvc").exists()


def test_an_installed_package_works_on_the_working_folder(tmp_path: Path, monkeypatch) -> None:
    carried = tmp_path / "carried"
    carried.mkdir()
    monkeypatch.chdir(tmp_path)
    assert project.project_root() == project.CODE_ROOT
    (tmp_path / "experiment.yaml").write_text("name: mine")
    assert project.project_root() == tmp_path
    (tmp_path / "experiment.yaml").unlink()
    monkeypatch.setattr(project, "_CARRIED", carried)
    assert project.project_root() == tmp_path
    assert project.resource("studies") == carried / "studies"
    assert project.deployment_file() == carried / "prefect.yaml"
    (tmp_path / "prefect.yaml").write_text("deployments: []")
    assert project.deployment_file() == tmp_path / "prefect.yaml"
