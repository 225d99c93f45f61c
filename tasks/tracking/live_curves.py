"""Log the curves of trainings to MLflow while they run; `tasks.tracking.adapter_runs` completes the same runs later."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.tracking.client import connect
from tasks.tracking.orphans import PROCESS_TAG, process_tag
from tasks.tracking.runs import StudyRun, get_or_create_experiment

if TYPE_CHECKING:
    from mlflow.entities import Run

LIVE_TAG = "pipeline.training"
"""Tag of a run: content key of the adapter whose training it shows."""

logger = logging.getLogger("lycoris.tasks.tracking")


class LiveCurves:
    """Logs records of `tasks.runtime.curves` as child runs of a study, one for each training.

    If MLflow cannot be reached, a warning says so once and nothing more is logged: a training never waits for it.
    """

    def __init__(self, study: StudyRun) -> None:
        self._study = study
        self._runs: dict[str, Run] = {}
        self._steps: dict[str, set[int]] = {}
        self._is_broken = False

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Log one record."""
        if self._is_broken:
            return
        try:
            self._log(record)
        except Exception as error:  # MLflow's clients raise errors of several libraries
            self._is_broken = True
            logger.warning("Curves are not logged to MLflow during this run's trainings: %s", error)

    def close(self) -> None:
        """End the runs of trainings whose adapter was not logged."""
        if self._is_broken:
            return
        client = connect(self._study.server)
        for run in self._runs.values():
            if client.get_run(run.info.run_id).info.status == "RUNNING":
                client.set_terminated(run.info.run_id, "FAILED")

    def _log(self, record: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        from lycoris.data.image_opening import open_image

        client, run = connect(self._study.server), self._run(record)
        if run is None:  # the adapter was logged before its last curve came in
            return
        logged_steps = self._steps[record["key"]]
        client.log_batch(
            run.info.run_id,
            metrics=[
                Metric(name, value, moment, step)
                for step, loss, rate, moment in record["points"]
                if step not in logged_steps
                for name, value in (("loss", loss), ("learning_rate", rate))
            ],
        )
        logged_steps.update(step for step, *_ in record["points"])
        for step, files in record["samples"]:
            for number, file in enumerate(files):
                if Path(file).is_file():  # another machine's folder may not be seen here
                    with open_image(Path(file)) as image:
                        client.log_image(run.info.run_id, image, key=f"sample {number}", step=step, synchronous=True)

    def _run(self, record: Mapping[str, Any]) -> Run | None:
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

        key = record["key"]
        if key not in self._runs:
            client = connect(self._study.server)
            experiment = get_or_create_experiment(client, self._study.server, self._study.name)
            existing = find_live_run(client, experiment, key)
            if existing is None and client.search_runs([experiment], f"tags.`{LIVE_TAG}` = '{key}'", max_results=1):
                return None
            tags = {
                LIVE_TAG: key,
                PROCESS_TAG: process_tag(),
                MLFLOW_PARENT_RUN_ID: self._study.run_id,
                "pipeline.kind": "training",
            }
            start = record["points"][0][3] if record["points"] else None
            self._runs[key] = existing or client.create_run(experiment, start, tags, record["name"])
            points = client.get_metric_history(existing.info.run_id, "loss") if existing else []
            self._steps[key] = {point.step for point in points}
        return self._runs[key]


def find_live_run(client: Any, experiment: str, key: str) -> Run | None:
    """The run that shows the training of an adapter and was not completed, or None."""
    query = f"tags.`{LIVE_TAG}` = '{key}' and tags.`pipeline.kind` = 'training'"
    runs = client.search_runs([experiment], query, order_by=["attributes.start_time ASC"])
    return runs[0] if runs else None
