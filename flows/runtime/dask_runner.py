"""The task runner of a Dask cluster, which is checked before work is submitted and watched meanwhile.

Needs the extra `dask`; imported only if an experiment names the address of a scheduler.
"""

from __future__ import annotations

import logging
import platform
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Client
from prefect_dask import DaskTaskRunner

from flows.config.experiment import Experiment
from lycoris.errors import InputError
from lycoris.safety.redaction import redact
from tasks.runtime import progress, transfer
from tasks.runtime.cache import GPU_STAGES
from tasks.runtime.library_logging import quiet_library

logger = logging.getLogger("lycoris.flows.dask")

CONNECT_TIMEOUT_S = 60.0
"""How long a scheduler or a Prefect server may take to answer the first request."""
SCHEDULER_TIMEOUT_S = 300.0
"""How long a scheduler on a busy machine may take to answer later."""
GPU_RESOURCE = "GPU"
"""The Dask resource of a worker with a GPU: ``dask worker --resources GPU=1``."""


class DaskRunner(DaskTaskRunner):
    """Prefect's Dask runner, which also logs when workers join or leave, and submits GPU steps to workers with a GPU.

    Args:
        address: The address of the scheduler.
        progress_folder: The folder through which steps report their progress.
        has_gpu_workers: Whether some worker has the resource `GPU_RESOURCE`.
    """

    def __init__(self, address: str, progress_folder: Path, has_gpu_workers: bool) -> None:
        super().__init__(address=address, client_kwargs={"timeout": SCHEDULER_TIMEOUT_S})
        quiet_library("distributed")  # this runner logs what matters
        self._progress_folder, self._has_gpu_workers = progress_folder, has_gpu_workers
        self._known_workers: set[str] = set()
        self._is_subscribed = False

    def duplicate(self) -> DaskRunner:
        assert self.address is not None
        return type(self)(self.address, self._progress_folder, self._has_gpu_workers)

    def _subscribe(self) -> None:
        """Receive events of workers; only once a task is submitted, since workers enter this runner as well."""
        self._known_workers = set(_workers(self.client))
        self.client.subscribe_topic("all", self._on_worker_event)
        self.client.subscribe_topic(str(self._progress_folder), self._on_progress_event)
        self._is_subscribed = True

    def submit(self, task: Any, *arguments: Any, **options: Any) -> Any:
        if not self._is_subscribed:
            self._subscribe()
        needs_gpu = self._has_gpu_workers and task.name in (*GPU_STAGES, "adapters", "captions")
        with dask.annotate(resources={GPU_RESOURCE: 1}) if needs_gpu else nullcontext():
            return super().submit(task, *arguments, **options)

    def _on_worker_event(self, event: tuple[Any, Any]) -> None:
        """Log that a worker joined or left."""
        details = event[1]
        if not isinstance(details, Mapping):
            return
        action, worker = details.get("action"), str(details.get("worker"))
        if action == "add-worker" and worker not in self._known_workers:
            self._known_workers.add(worker)
            logger.info("The worker %s has joined.", worker)
        elif action == "remove-worker" and worker in self._known_workers:
            self._known_workers.discard(worker)
            logger.warning("%s", _describe_lost_worker(details, len(self._known_workers), self.address))

    def _on_progress_event(self, event: tuple[Any, Any]) -> None:
        progress.write_relayed(self._progress_folder, event[1]["name"], event[1]["record"])


def _describe_lost_worker(details: Mapping[str, Any], remaining: int, address: str | None) -> str:
    unfinished, lost = len(details.get("processing-tasks") or ()), len(details.get("lost-computed-tasks") or ())
    text = f"The worker {details['worker']} is gone: its {unfinished} running or waiting steps are done by others"
    text += f", and {lost} finished ones are looked up again." if lost else "."
    return text if remaining else f"{text} None is left: the run waits for one (`dask worker {address}`)."


def create_dask_runner(experiment: Experiment, progress_folder: Path) -> DaskRunner:
    """Return the task runner of an experiment on a cluster that can run it.

    Raises:
        InputError: No scheduler answers, it has no workers, or one of them has other code, does not see the output
            folder although there is no artifact store, or does not reach the artifact store or the Prefect server.
    """
    from prefect.settings import PREFECT_API_URL

    store = (experiment.output / "store").resolve()
    store.mkdir(parents=True, exist_ok=True)
    file = store / f".probe-{uuid.uuid4().hex}"
    file.touch()
    try:
        with _client(experiment.runner) as client:
            workers = _workers(client)
            arguments = (str(file), experiment.artifact_store, PREFECT_API_URL.value())
            local = probe_worker(*arguments)
            for worker, probe in client.run(probe_worker, *arguments, on_error="return").items():
                _check_worker(worker, probe, local, experiment)
    finally:
        file.unlink(missing_ok=True)
    if local.store_error is not None:
        raise InputError(local.store_error)
    has_gpu_workers = any(GPU_RESOURCE in worker["resources"] for worker in workers.values())
    return DaskRunner(experiment.runner, progress_folder, has_gpu_workers)


def cluster_slots(address: str) -> int:
    """Return how many steps a cluster runs in parallel.

    Raises:
        InputError: No scheduler answers, or it has no workers.
    """
    with _client(address) as client:
        return sum(worker["nthreads"] for worker in _workers(client).values())


@dataclass(frozen=True)
class WorkerProbe:
    """The environment of a worker.

    Attributes:
        code: Hash of the library's code.
        versions: Versions of what results depend on.
        folder: The working directory.
        sees_output: Whether it sees the output folder.
        store_error: Why it does not reach the artifact store, or None.
        api_error: Why it does not reach the Prefect server, or None.
    """

    code: str
    versions: str
    folder: str
    sees_output: bool
    store_error: str | None
    api_error: str | None


def probe_worker(probe_file: str, artifact_store: str | None, api_url: str | None) -> WorkerProbe:
    """Return the environment of the process that calls this.

    Args:
        probe_file: A file in the output folder.
        artifact_store: The URL of the artifact store.
        api_url: The URL of the Prefect server.
    """
    import torch

    from lycoris.cache.keys import source_hash

    return WorkerProbe(
        code=source_hash(""),
        versions=f"Python {platform.python_version()}, torch {torch.__version__}",
        folder=str(Path.cwd()),
        sees_output=Path(probe_file).is_file(),
        store_error=None if artifact_store is None else _artifact_store_error(artifact_store),
        api_error=None if api_url is None else _api_error(f"{api_url}/health"),
    )


def _check_worker(worker: str, probe: object, local: WorkerProbe, experiment: Experiment) -> None:
    if isinstance(probe, Exception):
        text = redact(f"{type(probe).__name__}: {probe}")
        raise InputError(f"The worker {worker} cannot run this project: {text}. Install the same commit there.")
    if not isinstance(probe, WorkerProbe) or probe.code != local.code:
        raise InputError(f"The worker {worker} has other code than this machine: install the same commit on both.")
    if probe.versions != local.versions:
        raise InputError(f"The worker {worker} has {probe.versions}, this machine {local.versions}.")
    if probe.folder != local.folder and (paths := _relative_paths(experiment)):
        raise InputError(
            f"The worker {worker} runs in `{probe.folder}`, this command in `{local.folder}`: start both in the "
            f"same folder, or use absolute paths instead of {', '.join(f'`{path}`' for path in paths)}."
        )
    if probe.store_error is not None:
        raise InputError(f"The worker {worker}: {probe.store_error}")
    if experiment.artifact_store is None and not probe.sees_output:
        raise InputError(
            f"The worker {worker} does not see the output folder `{experiment.output.resolve()}`: put it on a file "
            "system that all machines mount at the same path, or set an artifact store, "
            "`--set artifact_store=s3://bucket/prefix`."
        )
    if probe.api_error is not None:
        raise InputError(
            f"The worker {worker} does not reach the Prefect server: {probe.api_error}. Start one that every machine "
            "reaches (`lycoris server --host`) and set PREFECT_API_URL."
        )


def _relative_paths(experiment: Experiment) -> list[str]:
    """Return the paths of an experiment that name other files in another working directory."""
    models = [
        experiment.base,
        experiment.tokenizer,
        experiment.vae,
        experiment.style_encoder,
        experiment.tagger,
        experiment.captioner,
        *experiment.encoders,
    ]
    files = [experiment.vocabulary]
    if experiment.artifact_store is None:  # with an artifact store, only the machine that starts the run reads these
        files += [experiment.data, experiment.concepts_file, experiment.templates]
    paths = [Path(path) for path in [*models, *files] if path is not None]
    return [str(path) for path in paths if path.exists() and not path.is_absolute()]


def _artifact_store_error(url: str) -> str | None:
    try:
        transfer.remote_store(url).check()
    except InputError as error:
        return str(error)
    return None


def _api_error(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S):
            return None
    except urllib.error.HTTPError:
        return None  # the server answers
    except (urllib.error.URLError, OSError) as error:
        return redact(f"`{url}`: {error}")


def _client(address: str) -> Client:
    try:
        return Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"No Dask scheduler answers at `{address}` ({type(error).__name__}): start one with `dask scheduler`."
        ) from error


def _workers(client: Client) -> dict[str, Any]:
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise InputError(
            f"The Dask scheduler at `{client.scheduler.address}` has no workers: start some with "
            f"`dask worker {client.scheduler.address} --nthreads 1`."
        )
    return dict(workers)
