"""Log settings as parameters of a run; a value that is too long for MLflow is kept whole as an artifact."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lycoris.safety.redaction import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MAX_PARAM_LENGTH = 6000
"""Characters of a parameter's value that MLflow keeps."""
MAX_PARAMS_PER_BATCH = 100
LONG_PARAMETERS_FILE = "long_parameters.json"
"""Artifact of a run: the parameters that were cut, whole."""

logger = logging.getLogger("lycoris.tracking")


def log_parameters(client: MlflowClient, run: Run, values: Mapping[str, Any]) -> None:
    """Log the parameters that a run does not have yet, without secrets.

    Args:
        run: as it was opened; a killed process may have logged only some.
        values: name -> value. One of more than `MAX_PARAM_LENGTH` characters is cut and, whole, part of the artifact
            ``long_parameters.json``.
    """
    from mlflow.entities import Param

    texts = {name: redact(str(value)) for name, value in values.items()}
    missing = [Param(name, text[:MAX_PARAM_LENGTH]) for name, text in texts.items() if name not in run.data.params]
    for first in range(0, len(missing), MAX_PARAMS_PER_BATCH):
        client.log_batch(run.info.run_id, params=missing[first : first + MAX_PARAMS_PER_BATCH])
    cut = {name: text for name, text in texts.items() if len(text) > MAX_PARAM_LENGTH}
    if cut:
        client.log_dict(run.info.run_id, cut, LONG_PARAMETERS_FILE)
        logger.warning(
            "%s: MLflow keeps %d characters of a parameter; %s is whole in the artifact %s of the run.",
            run.info.run_name,
            MAX_PARAM_LENGTH,
            ", ".join(f"`{name}`" for name in cut),
            LONG_PARAMETERS_FILE,
        )
