"""The environment variables that Prefect, MLflow and other libraries read on import."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # what a server answers whose database restarts
    "PREFECT_LOGGING_SETTINGS_PATH": str(Path(__file__).with_name("prefect_logging.yml")),
    "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",  # after Ctrl-C; the system has freed them by then
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}
RESUME_HINT = "Finished work is saved; the same command resumes."


def configure_environment() -> None:
    """Set the environment variables that Prefect and MLflow read on import; those that the user set are unchanged."""
    for name, value in ENVIRONMENT_DEFAULTS.items():
        os.environ.setdefault(name, value)


def show_prefect_logs() -> None:
    """Let Prefect log to the terminal as it does by default; before Prefect is imported."""
    name = "PREFECT_LOGGING_SETTINGS_PATH"
    if os.environ.get(name) == ENVIRONMENT_DEFAULTS[name]:
        del os.environ[name]
