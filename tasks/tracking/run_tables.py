"""Tables that were logged with a run."""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from lycoris.errors import InputError
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking.client import TrackingServer, connect
from tasks.tracking.models import NOT_FOUND_CODES


@retry_while_unavailable
def read_run_table(server: TrackingServer, run_id: str | None, file: str) -> list[dict[str, Any]]:
    """Rows of a table that `log_table` wrote; none where the run or its file was deleted.

    Returns:
        Column -> value; numbers that are not finite are None.

    Raises:
        InputError: the file is not such a table.
    """
    from mlflow.exceptions import MlflowException

    client = connect(server)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # progress bars
                if run_id is None or file not in [entry.path for entry in client.list_artifacts(run_id)]:
                    return []
                text = Path(client.download_artifacts(run_id, file, folder)).read_text(encoding="utf-8")
        except MlflowException as error:
            if error.error_code in NOT_FOUND_CODES:
                return []
            raise
    try:
        table = json.loads(text)
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"Artifact `{file}` of run {run_id} cannot be read as a table: {error}") from error
    return [{name: _finite(value) for name, value in row.items()} for row in rows]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
