"""Links in folders that come from elsewhere: what they may make the program read."""

from __future__ import annotations

import re
from pathlib import Path

_DVC_OBJECT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}")
"""The last two parts of a path in DVC's cache, where every file of a data folder may be a link to."""


def forbidden_target(file: Path, root: Path, beside: Path | None = None) -> Path | None:
    """The target of a link that must not be read, because it leads out of a folder; None if the file may be read.

    A text file beside an image may be a link where the image is one too, if both lead to the same folder (a cache of
    the Hugging Face hub, a farm of links) or into the same cache of DVC. Otherwise a data folder from the net could
    bring the text of any file of the user into captions, reports and adapter files.

    Args:
        file: in the data folder; below a linked folder it is read like any other file of that folder.
        root: the data folder.
        beside: the image that the file belongs to.
    """
    if not file.is_symlink():
        return None
    target = file.resolve()
    if target.is_relative_to(root.resolve()) or target.is_relative_to(file.parent.resolve()):
        return None
    if beside is not None and beside.is_symlink():
        image = beside.resolve()
        if target.parent == image.parent or (_is_dvc_object(target) and _cache_of(target) == _cache_of(image)):
            return None
    return target


def _is_dvc_object(path: Path) -> bool:
    return _DVC_OBJECT.fullmatch("/".join(path.parts[-2:])) is not None


def _cache_of(path: Path) -> Path:
    return path.parent.parent
