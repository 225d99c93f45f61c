"""Which files a version of a project's data has: not those that ``.dvcignore`` names, and no linked folders."""

from __future__ import annotations

import os
from pathlib import Path

from lycoris.errors import InputError
from tasks.data_versions import dvc
from tasks.data_versions.manifest import ManifestEntry, build_manifest

IGNORE_FILE = ".dvcignore"
SPECIAL_NAMES = frozenset({IGNORE_FILE, ".dvc", ".git", ".hg"})
"""Names of files and folders that DVC handles in its own way."""


def build_own_manifest(folder: Path, project: Path) -> tuple[list[ManifestEntry], int]:
    """The manifest of a project's own data folder as DVC records it, and the size of its files in bytes.

    DVC is only imported where an ignore file has patterns or a special name is in the folder.

    Args:
        folder: ``data/`` of the project.
        project: the folder of ``data.dvc``.

    Raises:
        InputError: a linked folder is in it. DVC leaves such a folder out, but a training would read it.
    """
    folder, project = folder.resolve(), project.resolve()
    root = (dvc.dvc_dir(project) or project / ".dvc").parent
    ignore_files = [parent / IGNORE_FILE for parent in (project, *project.parents) if parent.is_relative_to(root)]
    lines = [line.strip() for file in ignore_files if file.is_file() for line in file.read_text("utf-8").splitlines()]
    is_special = any(line and not line.startswith("#") for line in lines)
    for parent, folders, names in os.walk(folder):
        is_special = is_special or not SPECIAL_NAMES.isdisjoint((*folders, *names))
        folders[:] = sorted(set(folders) - SPECIAL_NAMES)
        if link := next((Path(parent, name) for name in folders if Path(parent, name).is_symlink()), None):
            raise InputError(
                f"`{link}` is a link to the folder `{link.resolve()}`, which DVC does not record in data.dvc: copy the "
                "folder to its place, or use a data folder outside the project (`data: FOLDER`)."
            )
    return build_manifest(folder, dvc.list_files(folder, root) if is_special else None)
