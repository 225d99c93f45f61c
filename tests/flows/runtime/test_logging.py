"""Log records reach the terminal as lines, and Prefect's run log from every process of a run."""

import logging
import os
import subprocess
import sys

import pytest

from flows.runtime.client_environment import configure_environment
from flows.runtime.logging import QUIET, VERBOSE, ConsoleHandler, configure_logging
from flows.runtime.prefect_server import prefect_server
from tests.e2e.tiny import ENVIRONMENT, ROOT

FLOW = """
import logging, sys
from pathlib import Path
from prefect import flow, task
from flows.runtime.task_runner import process_runner
from tasks.artifacts import RunContext
from tasks.runtime import log_forwarding, progress
from tasks.runtime.cache import get_or_compute

STORE = Path(sys.argv[1])

@task
def compute(context):
    def write(folder, bar):
        logging.getLogger("lycoris.anything").info("from a process of the pool")
        (folder / "out").touch()
    return get_or_compute(context, "images", "bear", {}, write).key

@flow(task_runner=process_runner(1))
def work():
    folder = progress.progress_dir(STORE)
    log_forwarding.connect(folder)
    logging.getLogger("lycoris.flows").error("from the flow", extra={"topic": "failed"})
    with progress.display(folder):
        compute.submit(RunContext(STORE, folder)).result()

if __name__ == "__main__":
    work()
"""


@pytest.fixture
def handler(monkeypatch):
    """The command line's handler, removed again with the level it sets."""
    logger = logging.getLogger("lycoris")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    monkeypatch.setattr(logging.getLogger("lycoris.steps"), "level", logging.NOTSET)
    configure_logging()
    return next(handler for handler in logger.handlers if isinstance(handler, ConsoleHandler))


def test_records_are_lines_with_their_topic_and_notes_are_not_repeated(handler, capsys):
    for _ in range(2):
        logging.getLogger("lycoris.tasks").info("a %s", "note")
        logging.getLogger("lycoris.flows").error("grumble", extra={"topic": "failed"})
    logging.getLogger("lycoris.data.concepts").info("chosen")
    logging.getLogger("lycoris.steps").info("shown by the display")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["note      a note", "failed    grumble", "failed    grumble", "data      chosen"]


@pytest.mark.parametrize(("verbosity", "count"), [(QUIET, 1), (None, 2), (VERBOSE, 3)])
def test_verbosity_decides_which_levels_are_shown(handler, capsys, verbosity, count):
    configure_logging(verbosity)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger("lycoris.tasks").log(level, "level %d", level)
    assert len(capsys.readouterr().err.splitlines()) == count


def test_lines_hold_no_secrets_and_no_control_characters(handler, capsys, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "hunter2hunter2")
    logging.getLogger("lycoris.tasks").warning("https://me:pass@host \x1b[31m hunter2hunter2")
    line = capsys.readouterr().err
    assert "hunter2" not in line
    assert "pass@" not in line
    assert "\x1b" not in line


def test_a_run_logs_to_prefect_from_the_flow_and_from_its_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    configure_environment()
    (tmp_path / "work.py").write_text(FLOW)
    with prefect_server(tmp_path / "prefect") as url:
        environment = {**ENVIRONMENT, "PREFECT_API_URL": url, "PYTHONPATH": str(ROOT)}
        environment |= {name: os.environ[name] for name in ("PREFECT_HOME", "PREFECT_API_AUTH_STRING")}
        environment["PREFECT_LOGGING_TO_API_ENABLED"] = "true"
        command = [sys.executable, str(tmp_path / "work.py"), str(tmp_path / "store")]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            logs = {log.message: log for log in client.read_logs(None)}
    assert logs["from the flow"].level == logging.ERROR
    assert logs["from the flow"].task_run_id is None
    assert logs["from a process of the pool"].task_run_id is not None
    assert logs["from a process of the pool"].flow_run_id == logs["from the flow"].flow_run_id
    assert any(message.startswith("images   bear: ") for message in logs)
    assert [message for message in logs if message.startswith("from a process")] == ["from a process of the pool"]
