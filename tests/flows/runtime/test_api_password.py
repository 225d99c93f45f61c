"""The password of a local Prefect server: generated once, private, and asked for."""

import base64
import os
import re
import socket
import stat
import urllib.error
import urllib.request

import pytest

from flows.runtime.api_password import CLIENT_VARIABLE, stored_password
from flows.runtime.prefect_server import prefect_server
from lycoris.errors import InputError


def test_the_password_is_generated_once_and_only_its_owner_reads_it(tmp_path):
    file = tmp_path / "prefect-auth"
    old = os.umask(0)
    try:
        first = stored_password(file)
    finally:
        os.umask(old)
    assert first.startswith("lycoris:")
    assert len(first) > 40
    assert stored_password(file) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stored_password(tmp_path / "other") != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "prefect-auth"]


def test_a_password_that_others_can_read_or_that_is_a_link_is_refused(tmp_path):
    file = tmp_path / "prefect-auth"
    stored_password(file)
    file.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        stored_password(file)
    file.chmod(0o600)
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(InputError, match="only its owner can read"):
        stored_password(tmp_path / "link")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="only its owner can read"):
        stored_password(tmp_path / "dangling")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("text", ["", "password", ":password", "user:"])
def test_a_file_without_user_and_password_is_an_error(tmp_path, text):
    file = tmp_path / "prefect-auth"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(InputError, match="must contain `user:password`"):
        stored_password(file)


def status(url, path, body=None, **headers):
    request = urllib.request.Request(f"{url}{path}", body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def own(url):
    token = base64.b64encode(os.environ[CLIENT_VARIABLE].encode()).decode()
    return {"Authorization": f"Basic {token}"}


def test_the_server_of_a_run_asks_for_its_password(server):
    assert status(server, "/flows/filter", b"{}")[0] == 401
    assert status(server, "/flows/filter", b"{}", Authorization="Basic dXNlcjpvZi1hbm90aGVyLXNlcnZlcg==")[0] == 401
    assert status(server, "/flows/filter", b"{}", **own(server))[0] == 200


def test_the_server_of_a_run_refuses_other_origins_and_names_even_with_the_password(server):
    for headers in ({"Origin": "http://attacker.test"}, {"Origin": "null"}, {"Host": "attacker.test"}):
        code, answer = status(server, "/flows/filter", b"{}", **headers, **own(server))
        assert code == 403
        assert "Access-Control-Allow-Origin" not in answer
    assert status(server, "/flows/filter", b"{}", Origin=server.removesuffix("/api"), **own(server))[0] == 200


@pytest.mark.parametrize(("host", "origin"), [("127.0.0.1", "http://attacker.test"), ("attacker.test", None)])
def test_websockets_of_other_origins_and_names_are_refused(server, host, origin):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    port = urllib.request.urlsplit(server).port
    with (
        socket.create_connection(("127.0.0.1", port)) as connection,
        pytest.raises(InvalidStatus, match="403"),
    ):
        connect(f"ws://{host}:{port}/api/events/in", sock=connection, origin=origin, subprotocols=["prefect"])


def test_a_websocket_without_the_password_is_closed(server):
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with connect(f"{server.replace('http', 'ws')}/events/in", subprotocols=["prefect"]) as opened:
        opened.send('{"type": "auth", "token": "user:wrong"}')
        with pytest.raises(ConnectionClosed, match="1008"):
            opened.recv(timeout=60)


def test_a_wrong_password_is_a_clear_error(server, tmp_path, monkeypatch):
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: server, PREFECT_API_AUTH_STRING: "wrong:password"}),
        pytest.raises(InputError, match="does not accept the password: set PREFECT_API_AUTH_STRING"),
        prefect_server(tmp_path),
    ):
        pass


def test_a_refused_name_is_a_clear_error(server, tmp_path):
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_CUSTOM_HEADERS, temporary_settings

    custom = {PREFECT_CLIENT_CUSTOM_HEADERS: {"Host": "head"}}
    message = "refuses this client: The host name `head` is not allowed: start the server with `--allowed-host head`"
    with (
        temporary_settings({PREFECT_API_URL: server, **custom}),
        pytest.raises(InputError, match=re.escape(message)),
        prefect_server(tmp_path),
    ):
        pass
