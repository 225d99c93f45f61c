"""Move finished stages between machines that have no common disk, through a remote store.

Machines that share a file system need none of this. Others share finished stages through `RunContext.artifact_store`,
and each keeps its own in the folder that its environment names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from lycoris.cache.integrity import file_digest
from lycoris.cache.keys import stage_key
from lycoris.cache.remote import RemoteStore, StoreUnavailableError
from lycoris.cache.store import RECORD_FILE, Store
from lycoris.data.images import find_mask
from lycoris.errors import InputError
from lycoris.safety.redaction import redact
from tasks.artifacts import Artifact, ImageBundle, ImageSet, RunContext
from tasks.runtime.progress import DaskRelay
from tasks.runtime.retry import retry_until_available

ResultT = TypeVar("ResultT")
LOCAL_STORE_VARIABLE = "LYCORIS_STORE"
"""Environment variable of a worker without the common disk: its own folder of finished stages."""


def local_context(context: RunContext) -> RunContext:
    """The context with this machine's own store and progress channel."""
    if context.artifact_store is None:
        return context
    channel = context.progress
    if isinstance(channel, Path) and not channel.is_dir():
        channel = DaskRelay(str(channel))
    root = Path(os.environ.get(LOCAL_STORE_VARIABLE) or context.store).resolve()
    return replace(context, store=_cleaned_store_root(root), progress=channel)


@lru_cache(maxsize=4)
def _cleaned_store_root(root: Path) -> Path:
    """The root of a store, from which unfinished work of killed processes is removed, once per process."""
    Store(root).remove_stale()
    return root


@lru_cache(maxsize=4)
def remote_store(url: str) -> RemoteStore:
    """A remote store, opened once per process."""
    return RemoteStore(url)


def try_fetch(context: RunContext, stage: str, key: str) -> bool:
    """Download a finished stage that is missing here, if machines share stages; return whether it is here now."""
    return context.artifact_store is not None and _retrying(
        context.artifact_store, lambda store: store.fetch(context.store, stage, key)
    )


def publish(context: RunContext, folder: Path) -> None:
    """Upload a finished stage for other machines, if machines share stages."""
    if context.artifact_store is not None:
        _retrying(context.artifact_store, lambda store: store.put(folder))


def _retrying(url: str, action: Callable[[RemoteStore], ResultT]) -> ResultT:
    """Do something with the remote store, and retry while it does not answer."""
    return retry_until_available(
        lambda: action(remote_store(url)),
        f"the shared store {redact(url)}",
        lambda error: isinstance(error, StoreUnavailableError),
    )


def ensure_local(context: RunContext, artifact: Artifact) -> Artifact:
    """An artifact, wherever it was made, with its folder on this machine.

    Raises:
        InputError: it is neither here nor in the shared store.
    """
    if context.artifact_store is None:
        return artifact
    stage, key = artifact.folder.parent.name, artifact.folder.name
    folder = context.store / stage / key
    if not (folder / RECORD_FILE).is_file() and not try_fetch(context, stage, key):
        raise InputError(
            f"The finished stage `{stage}/{key}` is neither in `{context.store}` nor in `{context.artifact_store}`."
        )
    return replace(artifact, folder=folder)


def local_images(context: RunContext, images: ImageSet) -> list[Path]:
    """The files of a set of images on this machine."""
    if images.bundle is None:
        return list(images.files)
    folder = ensure_local(context, images.bundle.artifact).folder
    return [folder / name for name in images.bundle.file_names]


def publish_images(context: RunContext, images: Sequence[Path]) -> ImageBundle | None:
    """Upload images and their masks for other machines; None where all share a disk."""
    if context.artifact_store is None:
        return None
    top = Path(os.path.commonpath([path.parent for path in images]))
    masks = [mask for path in images if (mask := find_mask(path)) is not None]
    files = {path.relative_to(top).as_posix(): path for path in [*images, *masks]}
    inputs = {"files": {name: file_digest(path) for name, path in files.items()}}
    store, key = Store(context.store), stage_key("input_images", inputs)
    if store.find("input_images", inputs) is None:
        with store.create("input_images", inputs) as folder:
            for name, path in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)
    folder = context.store / "input_images" / key
    publish(context, folder)
    artifact = Artifact(key, folder, cached=True, seconds=0.0)
    return ImageBundle(artifact, tuple(path.relative_to(top).as_posix() for path in images))
