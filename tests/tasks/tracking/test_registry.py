"""The registry: lineage of every version, aliases that move by rule or by hand, complete downloads."""

import json
import shutil

import pytest

from flows.cli.main import main
from lycoris.analysis.decisions.strength import StrengthChoice, StrengthScore
from lycoris.cache.integrity import file_digest
from lycoris.errors import InputError
from tasks.tracking import promotion, registry
from tasks.tracking.adapter_runs import log_adapter
from tasks.tracking.client import connect, tracking_server
from tasks.tracking.models import KEY_TAG, list_versions
from tests.tasks.tracking.small_study import SETTINGS, adapter_run, open_small_study

DATA = {number: f"{number:032x}.dir" for number in (1, 2, 3)}


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def logged(root, number, concept="o'bear@5%#"):
    """One adapter, logged as the main job logs it."""
    return log_adapter(open_small_study(root, number), adapter_run(root, number, concept))


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
            logged_run = logged(root, number)
            assert logged_run.version == str(number)
            assert promotion.promote_to_champion(
                tracking_server(root), "o'bear@5%#", logged_run.version, f"reason {number}"
            )
    return root


@pytest.fixture
def runs(pattern, tmp_path):
    """A copy, whose database points to the artifacts of the pattern."""
    return shutil.copytree(pattern, tmp_path / "runs")


@pytest.fixture
def server(runs):
    return tracking_server(runs)


def test_a_version_has_its_lineage(server, runs):
    found = registry.get_version(server, "o'bear@5%#@champion")
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
    assert registry.get_version(server, "o'bear@5%#") == found
    assert (
        registry.get_version(server, "o'bear@5%#@previous").version
        == registry.get_version(server, "o'bear@5%#@2").version
        == "2"
    )


def test_a_recommended_strength_is_a_tag_of_its_version(server):
    name = "o'bear@5%#"
    assert registry.get_version(server, name).strength == {}
    registry.set_strength(server, name, "3", StrengthChoice(0.8, 0.6, 1.0, 16, (StrengthScore(0.8, 1.0, {}),)))
    found = registry.get_version(server, name)
    assert [found.strength[key] for key in ("value", "low", "high")] == [0.8, 0.6, 1.0]
    assert registry.lineage(found)["strength"]["origin"].endswith("95 % interval 0.6 to 1; 1 is worse")
    for text in ('{"value": 3, "low": 1, "high": 3}', '{"value": 1}', "0.8", '{"value": "x", "low": 1, "high": 1}'):
        registry.set_version_tag(server, found, "strength", text)
        with pytest.raises(InputError, match="Tag `strength` of version 3"):
            registry.get_version(server, name)


@pytest.mark.parametrize(
    "name", ["o'baer", "o'bear@5%#@nobody", "o'bear@5%#@9", "", "@", "../x", 'a" or name = "o\'bear']
)
def test_an_unknown_name_is_an_error(server, name):
    with pytest.raises(InputError):
        registry.get_version(server, name)


def test_pull_downloads_the_registered_bytes(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "deep" / "mine.safetensors"
    assert main(["pull", "o'bear@5%#@2", "--out", str(out), "--output", str(runs), "--json"]) == 0
    assert file_digest(out) == file_digest(file(runs, 2))
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (record["version"], record["data"], record["path"]) == ("2", DATA[2], str(out))
    assert main(["pull", "o'bear@5%#", "--output", str(runs)]) == 0
    assert file_digest(tmp_path / "o'bear@5%#.safetensors") == file_digest(file(runs, 3))
    assert main(["pull", "o'bear@5%#@2", "--output", str(runs)]) == 2
    assert "--out" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "runs", "o'bear@5%#.safetensors"}


def test_a_file_that_the_registry_lost_or_changed_is_not_delivered(server, runs, tmp_path):
    connect(server).set_model_version_tag("o'bear@5%#", "2", "adapter.sha256", "0" * 64)
    with pytest.raises(InputError, match="SHA-256"):
        registry.pull(server, "o'bear@5%#@2", tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_rollback_restores_one_champion_per_call_and_later_runs_do_not_undo_it(server, runs, capsys):
    assert main(["rollback", "o'bear@5%#", "--output", str(runs)]) == 0
    assert registry.get_version(server, "o'bear@5%#@champion").version == "2"
    assert registry.get_version(server, "o'bear@5%#@previous").version == "1"
    assert not promotion.promote_to_champion(server, "o'bear@5%#", "3", "again")
    assert registry.get_version(server, "o'bear@5%#@champion").version == "2"
    assert main(["rollback", "o'bear@5%#", "--output", str(runs)]) == 0
    assert registry.get_version(server, "o'bear@5%#").aliases == ("champion",)
    assert main(["rollback", "o'bear@5%#", "--output", str(runs)]) == 2
    assert "no champion before" in capsys.readouterr().err
    assert main(["rollback", "o'bear@5%#", "--to", "3", "--output", str(runs)]) == 0
    assert registry.get_version(server, "o'bear@5%#@champion").version == "3"
    assert registry.get_version(server, "o'bear@5%#@previous").version == "2"


def test_logging_that_was_killed_before_its_tags_is_resumed_without_a_second_version(server, runs):
    client = connect(server)
    client.delete_model_version_tag("o'bear@5%#", "3", KEY_TAG)
    client.set_terminated(registry.get_version(server, "o'bear@5%#@3").run_id, "RUNNING")
    assert logged(runs, 3).version == "3"
    assert len(list_versions(client, "o'bear@5%#")) == 3
    assert client.get_model_version("o'bear@5%#", "3").tags[KEY_TAG] == "key 3"


def test_champions_are_found_by_their_data(server):
    assert registry.champions_trained_on(server, DATA[3]) == ["o'bear@5%#@champion (version 3)"]
    assert registry.champions_trained_on(server, DATA[2]) == ["o'bear@5%#@previous (version 2)"]
    assert registry.champions_trained_on(server, DATA[1]) == []
    assert registry.champions_trained_on(None, DATA[3]) == []


def test_commands_without_a_registry_are_errors_and_create_none(tmp_path, capsys):
    assert main(["pull", "bear", "--output", str(tmp_path / "nowhere")]) == 2
    assert "no registry" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_two_promotions_at_once_follow_each_other(server):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda number: promotion.promote_to_champion(server, "o'bear@5%#", number, "x"), "12"))
    champion = registry.get_version(server, "o'bear@5%#@champion").version
    assert champion in "12"
    assert registry.get_version(server, "o'bear@5%#@previous").version == {"1": "2", "2": "1"}[champion]
