"""What Prefect stores of a failed run."""

import logging

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.context import refresh_global_settings_context
from prefect.logging.handlers import APILogWorker

from lycoris.errors import InputError
from lycoris.safety.redaction import RedactingFilter, redacting_errors

ADDRESS = "sftp://ann:hunter22@host/x"


@task
@redacting_errors
def failing_task():
    raise OSError(f"no answer from {ADDRESS}")


@flow
@redacting_errors
def failing_flow():
    try:
        failing_task()
    except OSError as error:
        raise InputError(f"`{ADDRESS}` is not there") from error


def test_a_failed_run_is_stored_without_secrets(server, monkeypatch):
    monkeypatch.setenv("PREFECT_LOGGING_TO_API_ENABLED", "true")
    refresh_global_settings_context()
    state = failing_flow(return_state=True)
    assert state.message.endswith("InputError: `sftp://***@host/x` is not there")
    APILogWorker.drain_all(timeout=60)
    with get_client(sync_client=True) as client:
        flow_run = state.state_details.flow_run_id
        logs = [log.message for log in client.read_logs(None) if log.flow_run_id == flow_run]
        tasks = [run.state.message for run in client.read_task_runs() if run.flow_run_id == flow_run]
    assert any("sftp://***@host/x" in message for message in logs)
    assert not any("hunter22" in message for message in [*logs, *tasks])


def test_a_decorated_function_keeps_its_name_types_and_result():
    @redacting_errors
    def add(one: int, two: int = 2) -> int:
        """Add."""
        return one + two

    assert (add.__name__, add.__doc__, add(1)) == ("add", "Add.", 3)
    with pytest.raises(TypeError, match="one"):
        add()


def test_records_are_redacted_with_their_arguments_and_errors():
    record = logging.LogRecord("lycoris", logging.ERROR, "", 1, "failed: %s", (ADDRESS,), None)
    try:
        raise OSError(ADDRESS)
    except OSError as error:
        record.exc_info = (OSError, error, error.__traceback__)
    assert RedactingFilter().filter(record)
    assert logging.Formatter().format(record).splitlines()[0] == "failed: sftp://***@host/x"
    assert "hunter22" not in logging.Formatter().format(record).splitlines()[-1]
