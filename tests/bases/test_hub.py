"""The message where a model cannot be fetched from the hub: its name is wrong, or the hub was not asked or reached."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lycoris.bases.files.diffusers_folder import find_base
from lycoris.encoders.model_sources import resolve_source
from lycoris.errors import InputError

ANSWERS = {"wrong": (404, "RepoNotFound"), "gated": (403, "GatedRepo"), "broken": (500, "")}


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    """A hub that has no model: the name of the owner decides how it answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            owner = self.path.split("/")[3]
            status, code = ANSWERS[owner]
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("find", [find_base, resolve_source])
@pytest.mark.parametrize(
    ("owner", "text"),
    [
        ("wrong", "The hub has no model `wrong/model`"),
        ("gated", "The hub asks for access to `gated/model`"),
        ("broken", "The hub answered with error 500"),
        ("unreachable", "The hub could not be reached, and `unreachable/model` is not in its cache"),
        ("offline", "HF_HUB_OFFLINE forbids to download it"),
    ],
)
def test_a_model_that_cannot_be_fetched_says_why(hub, find, owner, text, monkeypatch, tmp_path) -> None:
    from huggingface_hub import constants
    from huggingface_hub.hf_api import api

    monkeypatch.setattr("time.sleep", lambda _: None)  # between its attempts
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", owner == "offline")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for place, name in ((constants, "ENDPOINT"), (api, "endpoint")):
        monkeypatch.setattr(place, name, "http://127.0.0.1:9" if owner == "unreachable" else hub)
    with pytest.raises(InputError, match=f"`{owner}/model` is not a folder on this machine") as caught:
        find(f"{owner}/model")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
