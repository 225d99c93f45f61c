"""Claims about a Prefect server that answers with errors for a while: it is asked again, and the user is told once."""

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect.client.orchestration import get_client

from tasks.runtime import prefect_retries


@pytest.fixture
def restarting():
    """The API of a server that answers with 503 twice before it answers as it should."""
    left = [503, 503]

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            status = left.pop() if left and self.path.endswith("/hello") else 200
            said = b'"hello"' if self.path.endswith("/hello") else b'"3.8.8"'
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


def ask(api):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        return client._connect.get("/hello").json()


def notes(folder):
    return [json.loads(file.read_text())["text"] for file in folder.glob("*.note")]


def test_what_is_asked_again_is_told_with_the_reason(restarting, tmp_path, capsys):
    with prefect_retries.report_retries(tmp_path):
        assert ask(restarting) == "hello"
    assert set(notes(tmp_path)) == {"The Prefect server does not answer as it should (error 503): it is asked again."}
    assert "Another attempt" not in "".join(capsys.readouterr())


def test_outside_a_run_nothing_is_told_and_what_others_log_goes_its_way(restarting, tmp_path, caplog):
    with prefect_retries.report_retries(tmp_path):
        pass
    assert ask(restarting) == "hello"
    assert not notes(tmp_path)
    logging.getLogger("prefect.client").warning("a warning")
    logging.getLogger("prefect.client").debug("a whisper")
    assert [record.getMessage() for record in caplog.records] == ["a warning"]
