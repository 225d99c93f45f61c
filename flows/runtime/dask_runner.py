"""The task runner of many machines: a Dask cluster, looked at before work is handed to it, and watched meanwhile.

Needs the extra `dask`; imported only where an experiment names a scheduler's address.
"""

from __future__ import annotations

import logging
import platform
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
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

CONNECT_TIMEOUT_S = 60.0  # seconds for a scheduler or a server to answer at first
SCHEDULER_TIMEOUT_S = 300.0  # and for a scheduler meanwhile, on a machine that does much else
GPU_RESOURCE = "GPU"
"""The Dask resource of a worker with a GPU: ``dask worker --resources GPU=1``."""


class DaskRunner(DaskTaskRunner):
    """Prefect's Dask runner, which says when workers come and go, and hands GPU steps to workers that have one.

    Args:
        address: of the scheduler.
        shown: the folder through which steps are shown.
        gpus: whether workers have the resource `GPU`.
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
        """Hear of workers, and from them; not before something is handed out, since they enter this runner too."""
        self._known_workers = set(_workers(self.client))
        self.client.subscribe_topic("all", self._on_worker_event)
        self.client.subscribe_topic(str(self._progress_folder), self._on_progress_event)
        self._is_subscribed = True

    def submit(self, task: Any, *arguments: Any, **options: Any) -> Any:
        if not self._is_subscribed:
            self._subscribe()
        pinned = self._has_gpu_workers and task.name in (*GPU_STAGES, "adapters", "captions")
        with dask.annotate(resources={GPU_RESOURCE: 1}) if pinned else nullcontext():
            return super().submit(task, *arguments, **options)

    def _on_worker_event(self, event: tuple[Any, Any]) -> None:
        """Tell of a worker that came or went."""
        about = event[1]
        if not isinstance(about, Mapping):
            return
        action, worker = about.get("action"), str(about.get("worker"))
        if action == "add-worker" and worker not in self._known_workers:
            self._known_workers.add(worker)
            logger.info("The worker %s has joined.", worker)
        elif action == "remove-worker" and worker in self._known_workers:
            self._known_workers.discard(worker)
            logger.warning("%s", _describe_lost_worker(about, len(self._known_workers), self.address))

    def _on_progress_event(self, event: tuple[Any, Any]) -> None:
        progress.write_relayed(self._progress_folder, event[1]["name"], event[1]["record"])


def _describe_lost_worker(event: Mapping[str, Any], remaining: int, address: str | None) -> str:
    doing, kept = len(event.get("processing-tasks") or ()), len(event.get("lost-computed-tasks") or ())
    text = f"The worker {event['worker']} is gone: of its steps, {doing} under way or waiting are done by others"
    text += f", and {kept} finished are looked up again." if kept else "."
    return text if remaining else f"{text} None is left: the run waits for one (`dask worker {address}`)."


def create_dask_runner(experiment: Experiment, progress_folder: Path) -> DaskRunner:
    """The runner for an experiment, on a cluster that can do its work.

    Raises:
        InputError: no scheduler answers, it has no workers, or one of them has other code, does not see the output
            folder where nothing is shared otherwise, or does not reach the shared store or the Prefect server.
    """
    from prefect.settings import PREFECT_API_URL

    store = (experiment.output / "store").resolve()
    store.mkdir(parents=True, exist_ok=True)
    probe = store / f".probe-{uuid.uuid4().hex}"
    probe.touch()
    try:
        with _client(experiment.runner) as client:
            present = _workers(client)
            asked = (str(probe), experiment.artifact_store, PREFECT_API_URL.value())
            mine = probe_worker(*asked)
            for worker, found in client.run(probe_worker, *asked, on_error="return").items():
                _check_worker(worker, found, mine, experiment)
    finally:
        probe.unlink(missing_ok=True)
    if mine["share"] is not None:
        raise InputError(mine["share"])
    return DaskRunner(
        experiment.runner, progress_folder, any(GPU_RESOURCE in one["resources"] for one in present.values())
    )


def cluster_slots(address: str) -> int:
    """How many steps a cluster does side by side.

    Raises:
        InputError: no scheduler answers, or it has no workers.
    """
    with _client(address) as client:
        return sum(one["nthreads"] for one in _workers(client).values())


def probe_worker(probe_file: str, artifact_store: str | None, api_url: str | None) -> dict[str, Any]:
    """What a worker has and sees.

    Args:
        probe: a file in the output folder of whoever asks.
        share: address of the shared store.
        api: of the Prefect server.

    Returns:
        ``{"code", "versions", "folder", "sees", "share", "api"}``: hash of the library's code; versions of what numbers
        depend on; where the process runs; whether the file is seen; what is wrong with the shared store, and with the
        server, or None.
    """
    import torch

    from lycoris.cache.keys import source_hash

    return {
        "code": source_hash(""),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
        "folder": str(Path.cwd()),
        "sees": Path(probe_file).is_file(),
        "share": None if artifact_store is None else _artifact_store_error(artifact_store),
        "api": None if api_url is None else _api_error(f"{api_url}/health"),
    }


def _check_worker(worker: str, probe: Any, local: Mapping[str, Any], experiment: Experiment) -> None:
    if isinstance(probe, Exception):
        text = redact(f"{type(probe).__name__}: {probe}")
        raise InputError(f"The worker {worker} cannot run this project: {text}. Install the same commit there.")
    if probe["code"] != local["code"]:
        raise InputError(f"The worker {worker} has other code than this machine: install the same commit on both.")
    if probe["versions"] != local["versions"]:
        raise InputError(f"The worker {worker} has {probe['versions']}, this machine {local['versions']}.")
    if probe["folder"] != local["folder"] and (paths := _relative_paths(experiment)):
        raise InputError(
            f"The worker {worker} runs in `{probe['folder']}`, this command in `{local['folder']}`: start both in the "
            f"same folder, or name absolute paths instead of {', '.join(f'`{path}`' for path in paths)}."
        )
    if probe["share"] is not None:
        raise InputError(f"The worker {worker}: {probe['share']}")
    if experiment.artifact_store is None and not probe["sees"]:
        raise InputError(
            f"The worker {worker} does not see the output folder `{experiment.output.resolve()}`: put it on a file "
            f"system that all machines have at the same path, or name a shared store, `--set artifact_store=s3://bucket/prefix`."
        )
    if probe["api"] is not None:
        raise InputError(
            f"The worker {worker} does not reach the Prefect server: {probe['api']}. Start one that every machine "
            "reaches (`lycoris server --host`) and set PREFECT_API_URL."
        )


def _relative_paths(experiment: Experiment) -> list[str]:
    """The experiment's paths that mean another file in another folder."""
    named = [experiment.base, experiment.style_encoder, experiment.tagger, experiment.captioner, *experiment.encoders]
    files = [experiment.vocabulary]
    if experiment.artifact_store is None:  # else the machine that starts the run reads these
        files += [experiment.data, experiment.concepts_file, experiment.templates]
    given = [Path(one) for one in [*named, *files] if one is not None]
    return [str(path) for path in given if path.exists() and not path.is_absolute()]


def _artifact_store_error(artifact_store: str) -> str | None:
    try:
        transfer.remote_store(artifact_store).check()
    except InputError as error:
        return str(error)
    return None


def _api_error(address: str) -> str | None:
    try:
        with urllib.request.urlopen(address, timeout=CONNECT_TIMEOUT_S):
            return None
    except urllib.error.HTTPError:
        return None  # it answers
    except (urllib.error.URLError, OSError) as error:
        return redact(f"`{address}`: {error}")


def _client(address: str) -> Client:
    try:
        return Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"No Dask scheduler answers at `{address}` ({type(error).__name__}): start one with `dask scheduler`."
        ) from error


def _workers(client: Client) -> dict[str, Any]:
    found = client.scheduler_info(n_workers=-1)["workers"]
    if not found:
        raise InputError(
            f"The Dask scheduler at `{client.scheduler.address}` has no workers: start some with "
            f"`dask worker {client.scheduler.address} --nthreads 1`."
        )
    return dict(found)
