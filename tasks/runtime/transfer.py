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

from lycoris.cache.remote import SharedStore, StoreAwayError
from lycoris.cache.store import RECORD, Store, file_digest, key
from lycoris.data.images import mask_file
from lycoris.errors import InputError
from lycoris.safety.redaction import redacted
from tasks.artifacts import Made, Place
from tasks.runtime import progress
from tasks.runtime.progress import Relay
from tasks.runtime.retry import until_it_answers

Found = TypeVar("Found")
OWN = "LYCORIS_STORE"
"""The environment variable of a worker without the common disk: its own folder of finished stages."""


def here(place: Place) -> Place:
    """A place as this process sees it."""
    if place.share is None:
        return place
    shown = place.progress
    if isinstance(shown, Path) and not shown.is_dir():
        shown = Relay(str(shown))
    return replace(place, store=_swept(Path(os.environ.get(OWN) or place.store).resolve()), progress=shown)


@lru_cache(maxsize=4)
def _swept(root: Path) -> Path:
    """A store's root, freed once a process of what killed ones left half done."""
    Store(root).sweep()
    return root


@lru_cache(maxsize=4)
def shared(url: str) -> SharedStore:
    """A shared store, opened once a process."""
    return SharedStore(url)


def fetched(place: Place, stage: str, name: str) -> bool:
    """Whether a finished stage, missing here, could be brought here; a shared store that is away is waited for."""
    return place.share is not None and _patiently(
        place, lambda store: store.fetch(place.store, stage, name, lambda text: progress.note(place.progress, text))
    )


def offered(place: Place, folder: Path) -> None:
    """Put a finished stage where other machines find it; a shared store that is away is waited for."""
    if place.share is not None:
        _patiently(place, lambda store: store.put(folder))


def _patiently(place: Place, action: Callable[[SharedStore], Found]) -> Found:
    """Do something with the shared store once it is there."""
    url = str(place.share)
    return until_it_answers(
        lambda: action(shared(url)),
        f"the shared store {redacted(url)}",
        lambda error: isinstance(error, StoreAwayError),
        lambda text: progress.note(place.progress, text),
    )


def at_hand(place: Place, made: Made) -> Made:
    """A finished stage, wherever it was made, with its folder on this machine.

    Raises:
        InputError: it is neither here nor in the shared store.
    """
    if place.share is None:
        return made
    stage, name = made.folder.parent.name, made.folder.name
    folder = place.store / stage / name
    if not (folder / RECORD).is_file() and not fetched(place, stage, name):
        raise InputError(f"The finished stage `{stage}/{name}` is neither in `{place.store}` nor in `{place.share}`.")
    return replace(made, folder=folder)


@dataclass(frozen=True)
class Sent:
    """A concept's pictures as a finished stage.

    Attributes:
        stage: its folder holds them.
        names: their paths below it, in their order.
    """

    stage: Made
    names: tuple[str, ...]

    def paths(self, place: Place) -> list[Path]:
        """The pictures' files on this machine."""
        folder = at_hand(place, self.stage).folder
        return [folder / name for name in self.names]

    def some(self, rows: Sequence[int]) -> Sent:
        """Those of some rows."""
        return Sent(self.stage, tuple(self.names[row] for row in rows))


def send(place: Place, pictures: Sequence[Path]) -> Sent | None:
    """Put a concept's pictures, and their masks, where other machines find them; None where all share a disk."""
    if place.share is None:
        return None
    top = Path(os.path.commonpath([path.parent for path in pictures]))
    masks = [mask for path in pictures if (mask := mask_file(path)) is not None]
    files = {path.relative_to(top).as_posix(): path for path in [*pictures, *masks]}
    inputs = {"files": {name: file_digest(path) for name, path in files.items()}}
    store, name = Store(place.store), key("pictures", inputs)
    if store.find("pictures", inputs) is None:
        with store.create("pictures", inputs) as folder:
            for below, path in files.items():
                (folder / below).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / below)
    folder = place.store / "pictures" / name
    offered(place, folder)
    return Sent(Made(name, folder, True, 0.0), tuple(path.relative_to(top).as_posix() for path in pictures))
