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
from lycoris.safety.redaction import redacted
from tasks.runtime import progress, transfer
from tasks.runtime.cache import ON_GPU

PATIENCE = 60.0  # seconds for a scheduler or a server to answer at first
BUSY = 300.0  # and for a scheduler meanwhile, on a machine that does much else
GPU = "GPU"
"""The Dask resource of a worker with a GPU: ``dask worker --resources GPU=1``."""


class Cluster(DaskTaskRunner):
    """Prefect's Dask runner, which says when workers come and go, and hands GPU steps to workers that have one.

    Args:
        address: of the scheduler.
        shown: the folder through which steps are shown.
        gpus: whether workers have the resource `GPU`.
    """

    def __init__(self, address: str, shown: Path, gpus: bool) -> None:
        super().__init__(address=address, client_kwargs={"timeout": BUSY})
        for name in ("distributed", "distributed.client"):  # what a person must know, this runner says itself
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._shown, self._gpus = shown, gpus
        self._present: set[str] = set()
        self._listening = False

    def duplicate(self) -> Cluster:
        assert self.address is not None
        return type(self)(self.address, self._shown, self._gpus)

    def _listen(self) -> None:
        """Hear of workers, and from them; not before something is handed out, since they enter this runner too."""
        self._present = set(_workers(self.client))
        self.client.subscribe_topic("all", self._heard)
        self.client.subscribe_topic(str(self._shown), self._relayed)
        self._listening = True

    def submit(self, task: Any, *arguments: Any, **options: Any) -> Any:
        if not self._listening:
            self._listen()
        pinned = self._gpus and task.name in (*ON_GPU, "adapters", "captions")
        with dask.annotate(resources={GPU: 1}) if pinned else nullcontext():
            return super().submit(task, *arguments, **options)

    def _heard(self, event: tuple[Any, Any]) -> None:
        """Tell of a worker that came or went."""
        about = event[1]
        if not isinstance(about, Mapping):
            return
        action, worker = about.get("action"), str(about.get("worker"))
        if action == "add-worker" and worker not in self._present:
            self._present.add(worker)
            progress.note(self._shown, f"The worker {worker} has come.")
        elif action == "remove-worker" and worker in self._present:
            self._present.discard(worker)
            progress.note(self._shown, _lost(about, len(self._present), self.address))

    def _relayed(self, event: tuple[Any, Any]) -> None:
        progress.relayed(self._shown, event[1]["name"], event[1]["record"])


def _lost(about: Mapping[str, Any], left: int, address: str | None) -> str:
    doing, kept = len(about.get("processing-tasks") or ()), len(about.get("lost-computed-tasks") or ())
    text = f"The worker {about['worker']} is gone: of its steps, {doing} under way or waiting are done by others"
    text += f", and {kept} finished are looked up again." if kept else "."
    return text if left else f"{text} None is left: the run waits for one (`dask worker {address}`)."


def cluster(experiment: Experiment, shown: Path) -> Cluster:
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
            asked = (str(probe), experiment.share, PREFECT_API_URL.value())
            mine = look_around(*asked)
            for worker, found in client.run(look_around, *asked, on_error="return").items():
                _judge(worker, found, mine, experiment)
    finally:
        probe.unlink(missing_ok=True)
    if mine["share"] is not None:
        raise InputError(mine["share"])
    return Cluster(experiment.runner, shown, any(GPU in one["resources"] for one in present.values()))


def size(address: str) -> int:
    """How many steps a cluster does side by side.

    Raises:
        InputError: no scheduler answers, or it has no workers.
    """
    with _client(address) as client:
        return sum(one["nthreads"] for one in _workers(client).values())


def look_around(probe: str, share: str | None, api: str | None) -> dict[str, Any]:
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

    from lycoris.cache.store import code_version

    return {
        "code": code_version(""),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
        "folder": str(Path.cwd()),
        "sees": Path(probe).is_file(),
        "share": None if share is None else _fault(share),
        "api": None if api is None else _silence(f"{api}/health"),
    }


def _judge(worker: str, found: Any, mine: Mapping[str, Any], experiment: Experiment) -> None:
    if isinstance(found, Exception):
        text = redacted(f"{type(found).__name__}: {found}")
        raise InputError(f"The worker {worker} cannot run this project: {text}. Install the same commit there.")
    if found["code"] != mine["code"]:
        raise InputError(f"The worker {worker} has other code than this machine: install the same commit on both.")
    if found["versions"] != mine["versions"]:
        raise InputError(f"The worker {worker} has {found['versions']}, this machine {mine['versions']}.")
    if found["folder"] != mine["folder"] and (paths := _relative(experiment)):
        raise InputError(
            f"The worker {worker} runs in `{found['folder']}`, this command in `{mine['folder']}`: start both in the "
            f"same folder, or name absolute paths instead of {', '.join(f'`{path}`' for path in paths)}."
        )
    if found["share"] is not None:
        raise InputError(f"The worker {worker}: {found['share']}")
    if experiment.share is None and not found["sees"]:
        raise InputError(
            f"The worker {worker} does not see the output folder `{experiment.output.resolve()}`: put it on a file "
            f"system that all machines have at the same path, or name a shared store, `--set share=s3://bucket/prefix`."
        )
    if found["api"] is not None:
        raise InputError(
            f"The worker {worker} does not reach the Prefect server: {found['api']}. Start one that every machine "
            "reaches (`lycoris server --host`) and set PREFECT_API_URL."
        )


def _relative(experiment: Experiment) -> list[str]:
    """The experiment's paths that mean another file in another folder."""
    named = [experiment.base, experiment.style_encoder, experiment.tagger, experiment.captioner, *experiment.encoders]
    files = [experiment.vocabulary]
    if experiment.share is None:  # else the machine that starts the run reads these
        files += [experiment.data, experiment.concepts_file, experiment.templates]
    given = [Path(one) for one in [*named, *files] if one is not None]
    return [str(path) for path in given if path.exists() and not path.is_absolute()]


def _fault(share: str) -> str | None:
    try:
        transfer.shared(share).check()
    except InputError as error:
        return str(error)
    return None


def _silence(address: str) -> str | None:
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE):
            return None
    except urllib.error.HTTPError:
        return None  # it answers
    except (urllib.error.URLError, OSError) as error:
        return redacted(f"`{address}`: {error}")


def _client(address: str) -> Client:
    try:
        return Client(address, timeout=PATIENCE, set_as_default=False)
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
