"""The folder of a publication: it replaces only what an earlier publication of the same concept wrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from lycoris.cache.atomic import apply_umask, atomic_write
from lycoris.cache.integrity import file_digest
from lycoris.errors import InputError, list_names
from lycoris.safety.machine_paths import find_machine_path
from lycoris.safety.redaction import redact

MANIFEST = "lycoris-publication.json"
"""Names the concept and the SHA-256 of every published file."""


def write_manifest(folder: Path, concept: str, version: str) -> None:
    """Write the manifest of a complete publication."""
    files = {file: file_digest(folder / file) for file in file_names(folder) if file != MANIFEST}
    text = json.dumps({"concept": concept, "version": version, "files": files}, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")


def read_manifest(text: str, label: str) -> dict[str, Any]:
    """Parse a manifest.

    Args:
        label: what the text is, for the message.

    Raises:
        InputError: it is not a manifest.
    """
    try:
        manifest = json.loads(text)
        if all(isinstance(value, str) for value in [manifest["concept"], *manifest["files"].values()]):
            return manifest
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise InputError(f"{label} is not a manifest of `lycoris publish`.")


def check_target(folder: Path, concept: str) -> dict[str, str]:
    """Check that a folder may be published into.

    Returns:
        The files of the publication that is replaced: path -> SHA-256.

    Raises:
        InputError: it has files of the user, belongs to another concept, or a published file was changed.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"Option `--to` must name a folder, but `{folder}` is a file.")
    names = file_names(folder) if folder.exists() else []
    return published_files(folder, names, concept, f"folder `{folder}`")


def published_files(folder: Path, names: Collection[str], concept: str, label: str) -> dict[str, str]:
    """The files of an earlier publication of a concept: path -> SHA-256; none of an empty folder.

    Args:
        folder: with the files that are compared with the manifest; others may be missing.
        names: of all files, also those that are not in `folder`.
        label: what the folder is, for messages.

    Raises:
        InputError: as for `check_target`.
    """
    if not names:
        return {}
    if MANIFEST not in names:
        raise InputError(f"Option `--to`: {label} is not empty and was not written by `lycoris publish`: name another.")
    manifest = read_manifest((folder / MANIFEST).read_text(encoding="utf-8"), f"File `{MANIFEST}` of {label}")
    if manifest["concept"] != concept:
        raise InputError(f"Option `--to`: {label} holds concept `{manifest['concept']}`, not `{concept}`.")
    published: dict[str, str] = manifest["files"]
    outside = [name for name in published if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise InputError(f"File `{MANIFEST}` of {label} names files outside of it: {list_names(outside)}.")
    changed = [
        name for name, digest in published.items() if (folder / name).exists() and file_digest(folder / name) != digest
    ]
    if changed:
        raise InputError(
            f"Option `--to`: {label} has files that were changed after they were published: {list_names(changed)}. "
            "Name another, or remove these files."
        )
    return published


def check_new_names(new: Iterable[str], names: Collection[str], published: Collection[str], label: str) -> None:
    """Check that no file of the user has the name of one that is about to be published.

    Raises:
        InputError: one has.
    """
    own = [name for name in new if name != MANIFEST and name in names and name not in published]
    if own:
        raise InputError(f"Option `--to`: {label} has own files of these names: {list_names(own)}.")


def replace_publication(source: Path, folder: Path, concept: str) -> None:
    """Copy a complete publication into a folder, and remove the files of the one before that it does not have.

    Raises:
        InputError: as for `check_target`, or a file of the user has the name of a published one.
    """
    published, names = check_target(folder, concept), file_names(source)
    check_new_names(names, file_names(folder) if folder.exists() else [], published, f"folder `{folder}`")
    for name in sorted(names, key=lambda name: name == MANIFEST):  # last: it says that all are there
        with atomic_write(folder / name) as temporary:
            shutil.copyfile(source / name, temporary)
            apply_umask(temporary)
    for name in published:
        if name not in names:
            (folder / name).unlink(missing_ok=True)


def check_shareable(folder: Path) -> None:
    """Check that no text in a folder, or in the headers of its adapter files, names a path or a secret.

    Raises:
        InputError: one does.
    """
    from safetensors import safe_open

    for name in file_names(folder):
        if name.endswith(".png"):
            continue
        if name.endswith(".safetensors"):
            with safe_open(folder / name, framework="pt") as stream:
                texts = dict(stream.metadata() or {})
        else:
            texts = {"text": (folder / name).read_text(encoding="utf-8")}
        for entry, text in texts.items():
            path = find_machine_path(text)
            if path is not None:
                raise InputError(f"File `{name}` ({entry}) would publish the path `{path}` of this machine.")
            if not text.startswith("data:") and redact(text) != text:
                raise InputError(f"File `{name}` ({entry}) would publish a password or token.")


def file_names(folder: Path) -> list[str]:
    """Paths of all files in a folder, relative to it."""
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
