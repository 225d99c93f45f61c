"""Uploads to a stand-in of the hub's HTTP interface: with the user's token only, and never over other files."""

import pytest
from huggingface_hub import constants

from lycoris.errors import InputError
from lycoris.publishing.folder import MANIFEST, write_manifest
from lycoris.publishing.hub import check_repository, open_hub, upload
from tests.publishing.hub_server import TOKEN, serve_hub


@pytest.fixture(scope="module")
def running():
    with serve_hub() as server:
        yield server


@pytest.fixture
def hub(running, monkeypatch, tmp_path):
    """The stand-in, empty, as the hub of this process, and a user who has a token."""
    for recorded in (running.repositories, running.private, running.cards, running.requests):
        recorded.clear()
    monkeypatch.setattr(constants, "ENDPOINT", running.address)
    template = f"{running.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return running


def publication(folder, version="1", **files):
    folder.mkdir()
    texts = {"README.md": "---\ntags: [lora]\n---\n\n# bear\n", "bear.safetensors": f"tensors {version}", **files}
    for name, text in texts.items():
        (folder / name).write_text(text)
    write_manifest(folder, "bear", version)
    return folder


def test_a_new_repository_is_private_and_has_every_file(hub, tmp_path):
    source = publication(tmp_path / "one")
    address = upload(open_hub("ada/bear"), "ada/bear", source, "bear", "bear, version 1", public=False)
    assert address.startswith(f"{hub.address}/ada/bear/commit/")
    assert hub.private == {"ada/bear": True}
    uploaded = {name: data for name, data in hub.repositories["ada/bear"].items() if name != ".gitattributes"}
    assert uploaded == {file.name: file.read_bytes() for file in source.iterdir()}
    assert hub.cards[0] == {"tags": ["lora"]}  # which the hub validates before anything is uploaded


def test_a_public_repository_is_asked_for(hub, tmp_path):
    upload(open_hub("ada/bear"), "ada/bear", publication(tmp_path / "one"), "bear", "x", public=True)
    assert hub.private == {"ada/bear": False}


def test_the_next_version_replaces_the_one_before(hub, tmp_path):
    api = open_hub("ada/bear")
    upload(api, "ada/bear", publication(tmp_path / "one", old="1"), "bear", "x", public=False)
    upload(api, "ada/bear", publication(tmp_path / "two", "2", new="2"), "bear", "x", public=False)
    files = hub.repositories["ada/bear"]
    assert set(files) == {".gitattributes", "README.md", "bear.safetensors", "new", MANIFEST}
    assert files["bear.safetensors"] == b"tensors 2"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"README.md": b"mine"}, "was not written by"),
        ({MANIFEST: b'{"concept": "robot", "files": {}}'}, "holds concept `robot`"),
        ({MANIFEST: b'{"concept": "bear", "files": {"README.md": "0"}}', "README.md": b"edited"}, "changed after"),
        ({MANIFEST: b'{"concept": "bear", "files": {}}', "bear.safetensors": b"mine"}, "own files"),
    ],
)
def test_files_of_the_user_are_not_replaced(hub, tmp_path, files, message):
    hub.repositories["ada/bear"] = dict(files)
    with pytest.raises(InputError, match=message):
        upload(open_hub("ada/bear"), "ada/bear", publication(tmp_path / "one"), "bear", "x", public=False)
    assert hub.repositories["ada/bear"] == files


def test_without_a_valid_token_nothing_is_sent(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="needs your token"):
        open_hub("ada/bear")
    assert hub.requests == []
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrong")
    with pytest.raises(InputError, match="hub refuses") as refused:
        open_hub("ada/bear")
    assert "hf_wrong" not in str(refused.value)
    assert {method for method, _ in hub.requests} == {"GET"}


def test_a_name_that_is_no_repository_and_offline_mode_are_errors(hub, monkeypatch):
    with pytest.raises(InputError, match="hub:USER/NAME"):
        open_hub("bear")
    api = open_hub("ada/bear")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        check_repository(api, "ada/bear", "bear")
