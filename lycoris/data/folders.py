"""Folders below a data folder: linked ones are followed, each folder is visited once, and what links do is logged."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from lycoris.errors import InputError

logger = logging.getLogger(__name__)


def absolute_path(path: Path) -> Path:
    """Return the absolute path of a file or folder, where links keep their own names."""
    return Path(os.path.abspath(path))


def walk_folders(root: Path) -> Iterator[Path]:
    """Visit a folder and those below it, without hidden ones.

    A linked folder is visited too, under the name of its link. A link to a folder that is visited anyway, as in a loop,
    is left out and logged.

    Raises:
        InputError: a folder cannot be read.
    """
    visited = {root.resolve()}
    links: list[Path] = []
    yield from _walk(root, visited, links)
    while links:
        link = links.pop(0)
        target = link.resolve()
        if target in visited:
            logger.warning("The linked folder `%s` is left out: `%s` is read already.", link, target)
            continue
        logger.info("The linked folder `%s` is read from `%s`.", link, target)
        visited.add(target)
        yield from _walk(link, visited, links)


def _walk(folder: Path, visited: set[Path], links: list[Path]) -> Iterator[Path]:
    """Visit a folder and its real subfolders; collect the linked ones."""
    yield folder
    try:
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"Folder `{folder}` cannot be read: {error.strerror}.") from error
    for path in below:
        if path.is_symlink():
            links.append(path)
        elif path.resolve() not in visited:
            visited.add(path.resolve())
            yield from _walk(path, visited, links)
