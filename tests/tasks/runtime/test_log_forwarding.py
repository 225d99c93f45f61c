"""Log records reach the process that shows a run; a Prefect server that answers with errors is retried."""

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect.client.orchestration import get_client

from tasks.runtime import log_forwarding, progress


@pytest.fixture
def restarting():
    """The API of a server that answers with 503 twice before it answers as it should."""
    failures = [503, 503]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status = failures.pop() if failures and self.path.endswith("/hello") else 200
            body = b'"hello"' if self.path.endswith("/hello") else b'"3.8.8"'
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


def ask(api):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        return client._client.get("/hello").json()


MESSAGE = "The Prefect server does not answer as expected (error 503); retrying."


def test_a_retry_is_logged_with_its_reason(restarting, tmp_path, caplog, capsys):
    with log_forwarding.connected(tmp_path):
        assert ask(restarting) == "hello"
    assert [record.getMessage() for record in caplog.records if record.name.startswith("lycoris")] == [MESSAGE] * 2
    assert [json.loads(file.read_text())["msg"] for file in tmp_path.glob("*.log")] == [MESSAGE] * 2
    assert "Another attempt" not in "".join(capsys.readouterr())


def test_outside_a_run_nothing_is_logged_and_other_records_pass(restarting, tmp_path, caplog):
    with log_forwarding.connected(tmp_path):
        pass
    assert ask(restarting) == "hello"
    assert not list(tmp_path.iterdir())
    logging.getLogger("prefect.client").warning("a warning")
    logging.getLogger("prefect.client").debug("a debug message")
    assert [record.getMessage() for record in caplog.records] == ["a warning"]


def test_the_process_that_shows_the_run_sends_itself_nothing(tmp_path, caplog):
    folder = progress.progress_dir(tmp_path)
    with log_forwarding.connected(folder):
        logging.getLogger("lycoris.tasks").warning("once")
    assert not folder.exists()
    assert caplog.messages == ["once"]


def test_a_forwarded_record_is_handled_by_the_process_that_shows_the_run(tmp_path, caplog):
    with progress.display(tmp_path / "progress") as shown, log_forwarding.connected(shown.folder):
        logging.getLogger("lycoris.tasks").warning("%d of %d", 1, 2, extra={"topic": "failed"})
    own, forwarded = caplog.records
    assert own.getMessage() == forwarded.getMessage() == "1 of 2"
    assert (forwarded.name, forwarded.levelname, forwarded.topic) == ("lycoris.tasks", "WARNING", "failed")
