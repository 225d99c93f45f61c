"""The files of a model: a short name, a path or a hub name resolves to one folder with one digest."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from lycoris.errors import InputError, hub_failure, unknown_name_error

EMBEDDED_ENCODERS = {"clip": "CLIP", "dinov2": "DINOV2", "convnextv2": "CONVNEXTV2", "vgg": "VGG"}
"""Short name of an embedded encoder -> the constant of ``lycoris.pocket`` that holds its folder."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SMALL_FILE_PATTERNS = ["*.json", "*.txt", "*.model", "*.jinja"]
_WEIGHT_FILE_PATTERNS = (
    "model*.safetensors",
    "pytorch_model*.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
_LARGE_FILE = 2**20
"""Bytes above which a file is hashed once in a process, unless its size or time of modification changes."""
_WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pth", ".pt"}
_DIGESTED_SUFFIXES = _WEIGHT_SUFFIXES | {".json", ".txt", ".model", ".jinja"}


def resolve_source(source: str | Path) -> tuple[str, Path]:
    """Resolve a model to its short name in scores and its folder (or weight file).

    Args:
        source: a short name in `EMBEDDED_ENCODERS`, a local path, or a hub name ``owner/model``. An existing path takes
            precedence over a hub name; a hub model is downloaded to the hub's cache.

    Raises:
        InputError: the source is none of the three, or the hub does not have it or cannot be reached.
    """
    text = str(source)
    if text in EMBEDDED_ENCODERS:
        from lycoris import pocket

        return text, Path(getattr(pocket, EMBEDDED_ENCODERS[text]))
    path = Path(source).expanduser()
    if path.exists():
        return re.sub(r"[\s/]+", "_", path.resolve().stem if path.is_file() else path.resolve().name), path
    if isinstance(source, str) and _HUB_NAME.fullmatch(text):
        return text.rpartition("/")[2], _download(text)
    if path.is_absolute() or "/" in text:
        raise InputError(f"Argument `source` must name an existing encoder folder, but got `{text}`.")
    raise unknown_name_error("encoder", text, EMBEDDED_ENCODERS)


def model_digest(path: Path) -> str:
    """Compute the SHA-256 of the names and bytes of a model's weights, configuration, vocabulary and templates."""
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix in _DIGESTED_SUFFIXES)
    total = hashlib.sha256()
    for file in files:
        state = file.stat()
        compute = _large_file_digest if state.st_size > _LARGE_FILE else _large_file_digest.__wrapped__
        total.update(f"{file.name}\0{compute(file.resolve(), state.st_size, state.st_mtime_ns)}\n".encode())
    return total.hexdigest()


@lru_cache(maxsize=256)
def _large_file_digest(file: Path, size: int, modified: int) -> str:
    """SHA-256 of a file of this size and time of modification."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find_weight_file(path: Path) -> Path:
    """Find the only weight file at ``path``, which is that file or the folder that holds it.

    Raises:
        InputError: there is no weight file, or more than one.
    """
    if path.is_file():
        return path
    files = sorted(p for p in path.iterdir() if p.suffix in _WEIGHT_SUFFIXES)
    if len(files) != 1:
        names = ", ".join(p.name for p in files) or "none"
        raise InputError(f"Encoder folder `{path}` must hold exactly one weight file, but has {names}.")
    return files[0]


def _download(name: str) -> Path:
    from huggingface_hub import list_repo_files, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        try:
            return Path(snapshot_download(name, local_files_only=True))
        except LocalEntryNotFoundError:
            files = [Path(file) for file in list_repo_files(name)]
            weights = next(
                (pattern for pattern in _WEIGHT_FILE_PATTERNS if any(file.match(pattern) for file in files)),
                _WEIGHT_FILE_PATTERNS[0],
            )
            return Path(snapshot_download(name, allow_patterns=[*_SMALL_FILE_PATTERNS, weights]))
    except Exception as error:  # errors of the hub's transport have no class of their own
        raise InputError(f"Encoder `{name}` is not a folder on this machine. {hub_failure(name, error)}") from error
