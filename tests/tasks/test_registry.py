"""Claims about the registry: lineage on every version, aliases that move by rule or by hand, files fetched whole."""

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from flows.cli.main import main
from lycoris.cache.integrity import file_digest
from lycoris.errors import InputError
from tasks.artifacts import RunSpec
from tasks.data_versions.dvc import DataVersion
from tasks.tracking import registry
from tasks.tracking import runs as tracking

DATA = {number: f"{number:032x}.dir" for number in (1, 2, 3)}
SETTINGS = {"algorithm": "lora", "rank": 4, "training": {"steps": 2}}


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def logged(root, number, concept="o'bear@5%#", key=None):
    """One adapter, logged as the main job logs it."""
    files = root / "files"
    files.mkdir(exist_ok=True)
    cell = RunSpec(concept, "lora learning_rate=0.5", "none", number)
    adapter = files / f"{cell.name}.safetensors"
    save_file({"x": torch.full((2, 3), float(number))}, adapter)
    Image.new("RGB", (8, 8)).save(files / "sheet.png")
    place = tracking.tracking_server(root)
    version = DataVersion(DATA[number], files, 1, 1, "unchanged")
    parent = tracking.open_study(place, "study", f"study {number}", SETTINGS, version)
    return tracking.track_adapter.fn(
        place,
        "study",
        parent,
        key or f"key {number}",
        cell,
        settings=SETTINGS,
        facts={"step": 2, "epoch": 1.0},
        curves={"loss": [(1, 0.5), (2, 0.25)]},
        samples=[],
        scores=[{"name": "image_similarity/trigger/clip", "value": 0.123456789, "base": 0.1, "difference": 0.02}],
        captions=[{"picture": "1.png", "strategy": "none", "caption": "x"}],
        adapter=adapter,
        grid=files / "sheet.png",
        base="pocket",
        version=version,
        lineage={"base.digest": "abc", "commit": "c0ffee"},
    )


def file(root, number):
    """The adapter file that was logged."""
    (found,) = (root / "files").glob(f"*-{number}.safetensors")
    return found


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    """Three versions, of which each was champion once."""
    root = tmp_path_factory.mktemp("pattern") / "runs"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        for number in (1, 2, 3):
            tracked = logged(root, number)
            assert tracked.version == str(number)
            assert tracking.promote_to_champion.fn(
                tracking.tracking_server(root), "o'bear@5%#", tracked.version, f"reason {number}"
            )
    return root


@pytest.fixture
def runs(pattern, tmp_path):
    """A copy, whose database points to the artifacts of the pattern."""
    return shutil.copytree(pattern, tmp_path / "runs")


@pytest.fixture
def place(runs):
    return tracking.tracking_server(runs)


def test_a_version_says_where_it_comes_from(place, runs):
    found = registry.get_version(place, "o'bear@5%#@champion")
    assert (found.version, found.aliases) == ("3", ("challenger", "champion"))
    assert (found.data_version, found.commit, found.base, found.base_digest) == (DATA[3], "c0ffee", "pocket", "abc")
    assert (found.algorithm, found.strategy, found.seed, found.settings) == (
        "lora learning_rate=0.5",
        "none",
        3,
        SETTINGS,
    )
    assert found.scores == {"image_similarity/trigger/clip": 0.123457}
    assert found.sha256 == file_digest(file(runs, 3))
    assert registry.get_version(place, "o'bear@5%#") == found
    assert (
        registry.get_version(place, "o'bear@5%#@previous").version
        == registry.get_version(place, "o'bear@5%#@2").version
        == "2"
    )


@pytest.mark.parametrize(
    "name", ["o'baer", "o'bear@5%#@nobody", "o'bear@5%#@9", "", "@", "../x", 'a" or name = "o\'bear']
)
def test_what_is_not_there_is_told(place, name):
    with pytest.raises(InputError):
        registry.get_version(place, name)


def test_pull_fetches_the_bytes_that_were_registered(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "deep" / "mine.safetensors"
    assert main(["pull", "o'bear@5%#@2", "--out", str(out), "--output", str(runs), "--json"]) == 0
    assert file_digest(out) == file_digest(file(runs, 2))
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["version"], told["data"], told["path"]) == ("2", DATA[2], str(out))
    assert main(["pull", "o'bear@5%#", "--output", str(runs)]) == 0
    assert file_digest(tmp_path / "o'bear@5%#.safetensors") == file_digest(file(runs, 3))
    assert main(["pull", "o'bear@5%#@2", "--output", str(runs)]) == 2
    assert "--out" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "runs", "o'bear@5%#.safetensors"}


def test_a_file_that_the_registry_lost_or_changed_is_not_handed_out(place, runs, tmp_path):
    tracking.registry_client(place).set_model_version_tag("o'bear@5%#", "2", "adapter.sha256", "0" * 64)
    with pytest.raises(InputError, match="SHA-256"):
        registry.pull(place, "o'bear@5%#@2", tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_rollback_goes_back_one_champion_a_call_and_later_runs_leave_it_so(place, runs, capsys):
    assert main(["rollback", "o'bear@5%#", "--output", str(runs)]) == 0
    assert registry.get_version(place, "o'bear@5%#@champion").version == "2"
    assert registry.get_version(place, "o'bear@5%#@previous").version == "1"
    assert not tracking.promote_to_champion.fn(place, "o'bear@5%#", "3", "again")
    assert registry.get_version(place, "o'bear@5%#@champion").version == "2"
    assert main(["rollback", "o'bear@5%#", "--output", str(runs)]) == 0
    assert registry.get_version(place, "o'bear@5%#").aliases == ("champion",)
    assert main(["rollback", "o'bear@5%#", "--output", str(runs)]) == 2
    assert "no champion before" in capsys.readouterr().err
    assert main(["rollback", "o'bear@5%#", "--to", "3", "--output", str(runs)]) == 0
    assert registry.get_version(place, "o'bear@5%#@champion").version == "3"
    assert registry.get_version(place, "o'bear@5%#@previous").version == "2"


def test_a_logging_that_died_before_its_tags_is_taken_up_without_a_second_version(place, runs):
    client = tracking.registry_client(place)
    client.delete_model_version_tag("o'bear@5%#", "3", tracking.KEY_TAG)
    client.set_terminated(registry.get_version(place, "o'bear@5%#@3").run_id, "RUNNING")
    assert logged(runs, 3).version == "3"
    assert len(tracking.list_versions(client, "o'bear@5%#")) == 3
    assert client.get_model_version("o'bear@5%#", "3").tags[tracking.KEY_TAG] == "key 3"


def test_data_that_a_champion_stands_on_is_named(place):
    assert registry.champions_trained_on(place, DATA[3]) == ["o'bear@5%#@champion (version 3)"]
    assert registry.champions_trained_on(place, DATA[2]) == ["o'bear@5%#@previous (version 2)"]
    assert registry.champions_trained_on(place, DATA[1]) == []
    assert registry.champions_trained_on(None, DATA[3]) == []


def test_commands_say_that_there_is_no_registry_and_make_none(tmp_path, capsys):
    assert main(["pull", "bear", "--output", str(tmp_path / "nowhere")]) == 2
    assert "no registry" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
