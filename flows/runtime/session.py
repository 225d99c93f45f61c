"""Running a flow with a Prefect server beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from flows.runtime.prefect_server import describe_server_error, prefect_server
from lycoris.cache.store import DISK_FULL_HINT, Store, is_full_disk
from lycoris.errors import InputError

if TYPE_CHECKING:
    from flows.config.experiment import Experiment

MIN_FREE_BYTES = 2**20
"""A disk with less free space than this is full."""

ResultT = TypeVar("ResultT")


def with_prefect_server(experiment: Experiment, action: Callable[[], ResultT]) -> ResultT:
    """Check an experiment, then run a flow while a Prefect server is available.

    Args:
        experiment: The experiment that the flow runs.
        action: Calls the flow.

    Returns:
        The result of `action`.

    Raises:
        InputError: The experiment is invalid, the disk is full, or the Prefect server stopped answering.
    """
    from flows.config.preflight import validate_experiment

    validate_experiment(experiment)
    try:
        with prefect_server(experiment.output / "prefect"):
            try:
                return action()
            finally:
                Store(experiment.output / "store").remove_stale()
    except InputError:
        raise
    except Exception as error:  # a full disk also breaks the databases, each with its own error
        if is_full_disk(error) or shutil.disk_usage(experiment.output).free < MIN_FREE_BYTES:
            raise InputError(f"The disk that holds `{experiment.output}` is full. {DISK_FULL_HINT}") from error
        if (message := describe_server_error(error)) is not None:
            raise InputError(message) from error
        raise
