"""Log the seal of a study as a run of its own, before the study runs: the server records when."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lycoris.safety.redaction import redact
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking.client import TrackingServer, connect
from tasks.tracking.models import KEY_TAG
from tasks.tracking.runs import KIND_TAG, MAX_TAG_LENGTH, NOTE_TAG, find_run, get_or_create_experiment


@retry_while_unavailable
def log_seal(server: TrackingServer, name: str, key: str, description: str, tags: Mapping[str, str], file: Path) -> str:
    """Log a seal once, as a finished run in the experiment of its study.

    Args:
        server: where the study is tracked.
        name: of the study's experiment.
        key: hash of the seal.
        description: in Markdown.
        tags: further tags of the run.
        file: logged as an artifact.

    Returns:
        The id of the run.
    """
    client = connect(server)
    experiment = get_or_create_experiment(client, server, name)
    run = find_run(client, experiment, key)
    if run is not None and run.info.status == "FINISHED":
        return str(run.info.run_id)
    run = run or client.create_run(experiment, tags={KEY_TAG: key, KIND_TAG: "seal"}, run_name=f"{name} seal {key[:8]}")
    run_id = str(run.info.run_id)
    for tag, value in {**tags, "study.seal": key, NOTE_TAG: description}.items():
        client.set_tag(run_id, tag, redact(value)[:MAX_TAG_LENGTH])
    client.log_artifact(run_id, str(file))
    client.set_terminated(run_id, "FINISHED")
    return run_id
