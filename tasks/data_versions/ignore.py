"""Which files a version of a project's data has: not those that ``.dvcignore`` names, and no linked folders."""

from __future__ import annotations

from pathlib import Path

from lycoris.errors import InputError
from tasks.data_versions import dvc
from tasks.data_versions.manifest import ManifestEntry, build_manifest, linked_folders, list_files

IGNORE_FILE = ".dvcignore"


def build_own_manifest(folder: Path, project: Path) -> tuple[list[ManifestEntry], int]:
    """The manifest of a project's own data folder as DVC records it, and the size of its files in bytes.

    Args:
        folder: ``data/`` of the project.
        project: the folder of ``data.dvc``.

    Raises:
        InputError: a linked folder is in it. DVC leaves such a folder out, but a training would read it.
    """
    if links := linked_folders(folder):
        raise InputError(
            f"`{links[0]}` is a link to the folder `{links[0].resolve()}`, which DVC does not record in data.dvc: "
            "copy the folder to its place, or use a data folder outside the project (`data: FOLDER`)."
        )
    files = list_files(folder)
    if _has_patterns(folder, project):
        files = dvc.without_ignored(files, project)
    return build_manifest(folder, files)


def _has_patterns(folder: Path, project: Path) -> bool:
    """Whether an ignore file has patterns; DVC is only imported if one has."""
    files = [project / IGNORE_FILE, *folder.rglob(IGNORE_FILE)]
    lines = [line.strip() for file in files if file.is_file() for line in file.read_text("utf-8").splitlines()]
    return any(line and not line.startswith("#") for line in lines)
