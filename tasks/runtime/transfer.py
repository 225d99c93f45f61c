"""Where a task finds, on the machine it runs on, what another machine made.

Machines that share a file system need nothing of this. Others share finished stages through `Place.share`, and each
keeps its own in the folder that its environment names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from lycoris.cache.remote import RemoteStore, StoreUnavailableError
from lycoris.cache.store import RECORD_FILE, Store, file_digest, stage_key
from lycoris.data.images import find_mask
from lycoris.errors import InputError
from lycoris.safety.redaction import redact
from tasks.artifacts import Artifact, RunContext
from tasks.runtime import progress
from tasks.runtime.progress import DaskRelay
from tasks.runtime.retry import retry_until_available

ResultT = TypeVar("ResultT")
LOCAL_STORE_VARIABLE = "LYCORIS_STORE"
"""The environment variable of a worker without the common disk: its own folder of finished stages."""


def local_context(context: RunContext) -> RunContext:
    """A place as this process sees it."""
    if context.artifact_store is None:
        return context
    shown = context.progress
    if isinstance(shown, Path) and not shown.is_dir():
        shown = DaskRelay(str(shown))
    return replace(
        context,
        store=_cleaned_store_root(Path(os.environ.get(LOCAL_STORE_VARIABLE) or context.store).resolve()),
        progress=shown,
    )


@lru_cache(maxsize=4)
def _cleaned_store_root(root: Path) -> Path:
    """A store's root, freed once a process of what killed ones left half done."""
    Store(root).remove_stale()
    return root


@lru_cache(maxsize=4)
def remote_store(url: str) -> RemoteStore:
    """A shared store, opened once a process."""
    return RemoteStore(url)


def try_fetch(context: RunContext, stage: str, key: str) -> bool:
    """Whether a finished stage, missing here, could be brought here; a shared store that is away is waited for."""
    return context.artifact_store is not None and _retrying(
        context,
        lambda store: store.fetch(context.store, stage, key, lambda text: progress.message(context.progress, text)),
    )


def publish(context: RunContext, folder: Path) -> None:
    """Put a finished stage where other machines find it; a shared store that is away is waited for."""
    if context.artifact_store is not None:
        _retrying(context, lambda store: store.put(folder))


def _retrying(context: RunContext, action: Callable[[RemoteStore], ResultT]) -> ResultT:
    """Do something with the shared store once it is there."""
    url = str(context.artifact_store)
    return retry_until_available(
        lambda: action(remote_store(url)),
        f"the shared store {redact(url)}",
        lambda error: isinstance(error, StoreUnavailableError),
        lambda text: progress.message(context.progress, text),
    )


def ensure_local(context: RunContext, artifact: Artifact) -> Artifact:
    """A finished stage, wherever it was made, with its folder on this machine.

    Raises:
        InputError: it is neither here nor in the shared store.
    """
    if context.artifact_store is None:
        return artifact
    stage, name = artifact.folder.parent.name, artifact.folder.name
    folder = context.store / stage / name
    if not (folder / RECORD_FILE).is_file() and not try_fetch(context, stage, name):
        raise InputError(
            f"The finished stage `{stage}/{name}` is neither in `{context.store}` nor in `{context.artifact_store}`."
        )
    return replace(artifact, folder=folder)


@dataclass(frozen=True)
class ImageBundle:
    """A concept's pictures as a finished stage.

    Attributes:
        stage: its folder holds them.
        names: their paths below it, in their order.
    """

    artifact: Artifact
    file_names: tuple[str, ...]

    def paths(self, context: RunContext) -> list[Path]:
        """The pictures' files on this machine."""
        folder = ensure_local(context, self.artifact).folder
        return [folder / name for name in self.file_names]

    def subset(self, indices: Sequence[int]) -> ImageBundle:
        """Those of some rows."""
        return ImageBundle(self.artifact, tuple(self.file_names[row] for row in indices))


def publish_images(context: RunContext, images: Sequence[Path]) -> ImageBundle | None:
    """Put a concept's pictures, and their masks, where other machines find them; None where all share a disk."""
    if context.artifact_store is None:
        return None
    top = Path(os.path.commonpath([path.parent for path in images]))
    masks = [mask for path in images if (mask := find_mask(path)) is not None]
    files = {path.relative_to(top).as_posix(): path for path in [*images, *masks]}
    inputs = {"files": {name: file_digest(path) for name, path in files.items()}}
    store, name = Store(context.store), stage_key("pictures", inputs)
    if store.find("pictures", inputs) is None:
        with store.create("pictures", inputs) as folder:
            for below, path in files.items():
                (folder / below).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / below)
    folder = context.store / "pictures" / name
    publish(context, folder)
    return ImageBundle(Artifact(name, folder, True, 0.0), tuple(path.relative_to(top).as_posix() for path in images))
