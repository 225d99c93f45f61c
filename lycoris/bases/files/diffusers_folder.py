"""A base model on disk in the diffusers layout: locate it, check its parts, hash its content."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lycoris.bases.files.file_kinds import (
    PICKLE_SUFFIXES,
    WEIGHTS_SUFFIX,
    is_lfs_pointer,
    is_weights_file,
    wrong_kind,
)
from lycoris.bases.files.hub import download_snapshot, is_hub_name
from lycoris.cache.integrity import file_digest
from lycoris.errors import InputError, nearest_path_hint
from lycoris.pocket import EMBEDDED_BASES

CONVERT_FOLDER_COMMAND = (
    'python -c "from diffusers import StableDiffusionPipeline as P; '
    "P.from_pretrained('{file}', use_safetensors=False).save_pretrained('{folder}')\""
)
HUB_PATTERNS = tuple(
    f"{part}/{name}"
    for part in ("unet", "*transformer", "vae", "scheduler", "text_encoder*", "tokenizer*")
    for name in ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
)


def find_base(source: str | Path) -> Path:
    """Locate a base model.

    Args:
        source: ``"pocket"``, a folder, a file, or a hub name ``owner/model`` (its cached copy when offline).

    Returns:
        An existing folder or safetensors file.

    Raises:
        InputError: there is no such folder, file or model on the hub, or the file has another format.
    """
    path = Path(EMBEDDED_BASES.get(str(source), source)).expanduser()
    if path.is_file() and not is_weights_file(path):
        kind = (
            wrong_kind(path) or "must be a folder in the diffusers layout or a safetensors file, but is another file."
        )
        raise InputError(f"Base `{path}` {kind}")
    if path.is_file() or path.is_dir():
        return path
    if is_hub_name(str(source)):
        return _download(str(source))
    embedded = ", ".join(f"`{name}`" for name in EMBEDDED_BASES)
    raise InputError(
        f"Base `{source}` must be {embedded}, a folder in the diffusers layout, a safetensors file or a hub name, "
        f"but there is no folder {path.absolute()}.{nearest_path_hint(source)}"
    )


def _download(name: str) -> Path:
    patterns = ["model_index.json", *HUB_PATTERNS]
    failure = f"Base `{name}` is not a folder on this machine.{nearest_path_hint(name)}"
    # Plain weights are preferred; a repository with half-precision ones only is asked for those.
    folder = download_snapshot(name, patterns, failure, ignore=["*.fp16.*", "*.non_ema.*"])
    if not any([*folder.glob(f"unet/*{WEIGHTS_SUFFIX}"), *folder.glob(f"transformer/*{WEIGHTS_SUFFIX}")]):
        folder = download_snapshot(name, patterns, failure, ignore=["*.non_ema.*"])
    return folder


def find_components(source: str | Path) -> Path:
    """Locate the model that a transformer's file takes its other parts from.

    Args:
        source: a folder or a hub name; of the hub's, the weights of the transformer are not fetched.

    Raises:
        InputError: there is no such folder or model.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.is_file() or not is_hub_name(str(source)):
        raise InputError(
            f"Argument `components` must be a folder in the diffusers layout or a hub name, but got `{source}`."
        )
    failure = f"Argument `components`: `{source}` is not a folder on this machine."
    ignore = ["*.fp16.*", "*.non_ema.*", *(f"{part}/*{WEIGHTS_SUFFIX}" for part in ("unet", "*transformer"))]
    return download_snapshot(str(source), ["model_index.json", *HUB_PATTERNS], failure, ignore=ignore)


def read_json(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        InputError: it is absent or not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"File `{path}` could not be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"File `{path}` must be JSON: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"File `{path}` must hold a JSON object, but holds a {type(content).__name__}.")
    return content


def check_parts(folder: Path, parts: Mapping[str, str]) -> None:
    """Check that every part of a model is present, with weights where it needs them.

    Args:
        folder: a folder in the diffusers layout.
        parts: part to the file that its folder must hold, or to ``"weights"`` for a ``config.json`` and
            safetensors files.

    Raises:
        InputError: parts are missing; the message lists them all, and what the folder has.
    """
    missing = []
    for part, required in parts.items():
        if not (folder / part).is_dir():
            missing.append(f"{part}/")
            continue
        config = "config.json" if required == "weights" else required
        if not (folder / part / config).is_file():
            missing.append(f"{part}/{config}")
        if required == "weights" and not any((folder / part).glob(f"*{WEIGHTS_SUFFIX}")):
            pickled = sorted(file.name for file in (folder / part).iterdir() if file.suffix in PICKLE_SUFFIXES)
            note = f" (only {', '.join(pickled)}: pickle is refused)" if pickled else ""
            missing.append(f"{part}/*{WEIGHTS_SUFFIX}{note}")
    if not missing:
        _check_pointers(folder, parts)
        return
    entries = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    message = (
        f"Base folder `{folder}` lacks {', '.join(missing)}. It needs "
        f"{', '.join(f'{part}/' for part in parts)}; it has {', '.join(entries) or 'nothing'}."
    )
    if any("pickle" in entry for entry in missing):
        command = CONVERT_FOLDER_COMMAND.format(file=folder, folder=f"{folder}-safe")
        message += f" If you trust it, convert it once: {command}"
    raise InputError(message)


def _check_pointers(folder: Path, parts: Iterable[str]) -> None:
    """Check that no file of the parts is a Git LFS pointer."""
    files = [file for part in parts for file in sorted((folder / part).iterdir()) if file.is_file()]
    if pointers := [file for file in files if is_lfs_pointer(file)]:
        names = ", ".join(str(file.relative_to(folder)) for file in pointers[:3])
        raise InputError(
            f"Base folder `{folder}` has {len(pointers)} files, such as {names}, of which each "
            f"{wrong_kind(pointers[0])}"
        )


def weights_variant(part: Path) -> str | None:
    """Which weights of a part to open: None for the plain ones, ``"fp16"`` if there are only those."""
    names = [file.name for file in part.glob(f"*{WEIGHTS_SUFFIX}")]
    plain = any("." not in name.removesuffix(WEIGHTS_SUFFIX) for name in names)
    return None if plain or not any(".fp16" in name for name in names) else "fp16"


def folder_digest(folder: Path, parts: Iterable[str]) -> str:
    """SHA-256 over names and contents of the files that are opened, in sorted order."""
    total = hashlib.sha256()
    for part in sorted(parts):
        variant = weights_variant(folder / part)
        for file in sorted((folder / part).iterdir()):
            if file.suffix not in {".json", ".txt", ".model", ".jinja", WEIGHTS_SUFFIX} or not file.is_file():
                continue
            if file.suffix == WEIGHTS_SUFFIX and file_variant(file) != variant:
                continue
            total.update(f"{part}/{file.name} {cached_file_digest(file)}\n".encode())
    return total.hexdigest()


def cached_file_digest(file: Path) -> str:
    """SHA-256 of a file's content, computed again only if its size or modification time changes."""
    status = file.stat()
    return _cached_file_digest(file.resolve(), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _cached_file_digest(path: Path, size: int, modified: int) -> str:
    return file_digest(path)


def file_variant(weights: Path) -> str | None:
    """Return the variant that a weights file's name has, such as ``"fp16"``; None for the plain weights."""
    stem = weights.name.removesuffix(WEIGHTS_SUFFIX)
    return stem.split(".", 1)[1].split("-")[0] if "." in stem else None
