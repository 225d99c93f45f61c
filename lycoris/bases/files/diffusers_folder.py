"""A base model on disk, in the diffusers layout: finding it, checking it, naming its content."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lycoris.errors import InputError

PICKLE_SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl"})
WEIGHTS_SUFFIX = ".safetensors"
CONVERT_FILE_COMMAND = (
    'python -c "from diffusers import StableDiffusionPipeline as P; '
    "P.from_single_file('{file}').save_pretrained('{folder}')\""
)
CONVERT_FOLDER_COMMAND = (
    'python -c "from diffusers import StableDiffusionPipeline as P; '
    "P.from_pretrained('{file}', use_safetensors=False).save_pretrained('{folder}')\""
)
HUB_PATTERNS = tuple(
    f"{part}/{name}"
    for part in (
        *("unet", "transformer", "vae", "scheduler"),
        *(f"{kind}{number}" for kind in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")),
    )
    for name in ("*.json", "*.txt", "*.model", "*.safetensors")
)


def find_base(source: str | Path) -> Path:
    """Where a base model is.

    Args:
        source: ``"pocket"``, a folder, a file, or a hub name ``owner/model`` (its cached copy when offline).

    Returns:
        A folder that exists, or a safetensors file.

    Raises:
        InputError: there is no such folder or file and no such model on the hub, or it is a file of another kind.
    """
    if str(source) == "pocket":
        from lycoris import pocket

        source = pocket.BASE
    path = Path(source).expanduser()
    if path.is_file() and path.suffix != WEIGHTS_SUFFIX:
        raise InputError(_unsupported_file_message(path))
    if path.is_file() or path.is_dir():
        return path
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        return _download(str(source))
    raise InputError(
        f"Base `{source}` must be `pocket`, a folder in the diffusers layout, a safetensors file or a hub name, "
        f"but there is no folder {path.absolute()}."
    )


def _unsupported_file_message(path: Path) -> str:
    command = CONVERT_FILE_COMMAND.format(file=path, folder=path.with_suffix(""))
    if path.suffix in PICKLE_SUFFIXES:
        return (
            f"Base `{path}` is a pickle file, which can run code when opened, and is refused. "
            f"If you trust it, convert it once: {command}"
        )
    return f"Base `{path}` must be a folder in the diffusers layout or a safetensors file, but it is another file."


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["model_index.json", *HUB_PATTERNS]
    try:
        # A plain file is preferred; a repository that has only half-precision ones is asked for those.
        folder = Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=["*.fp16.*", "*.non_ema.*"]))
        if not any([*folder.glob(f"unet/*{WEIGHTS_SUFFIX}"), *folder.glob(f"transformer/*{WEIGHTS_SUFFIX}")]):
            folder = Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=["*.non_ema.*"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"Base `{name}` is no folder here, and the hub did not give a model of that name: {reason}"
        ) from error
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """A configuration file.

    Raises:
        InputError: it is absent or not JSON.
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
    """See that every part of a model is there, with weights where it has some.

    Args:
        folder: in the diffusers layout.
        parts: for each part the file that must stand in its folder, or ``"weights"`` for a ``config.json``
            and safetensors.

    Raises:
        InputError: with all that is missing, and what is there.
    """
    missing = []
    for part, needed in parts.items():
        if not (folder / part).is_dir():
            missing.append(f"{part}/")
            continue
        config = "config.json" if needed == "weights" else needed
        if not (folder / part / config).is_file():
            missing.append(f"{part}/{config}")
        if needed == "weights" and not any((folder / part).glob(f"*{WEIGHTS_SUFFIX}")):
            pickled = sorted(file.name for file in (folder / part).iterdir() if file.suffix in PICKLE_SUFFIXES)
            note = f" (only {', '.join(pickled)}: pickle is refused)" if pickled else ""
            missing.append(f"{part}/*{WEIGHTS_SUFFIX}{note}")
    if not missing:
        return
    there = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir() if not entry.name.startswith("."))
    message = (
        f"Base folder `{folder}` lacks {', '.join(missing)}. It needs "
        f"{', '.join(f'{part}/' for part in parts)}; it has {', '.join(there) or 'nothing'}."
    )
    if any("pickle" in entry for entry in missing):
        command = CONVERT_FOLDER_COMMAND.format(file=folder, folder=f"{folder}-safe")
        message += f" If you trust it, convert it once: {command}"
    raise InputError(message)


def weights_variant(part: Path) -> str | None:
    """Which weights of a part to open: the plain ones, or ``"fp16"`` when there are only those."""
    names = [file.name for file in part.glob(f"*{WEIGHTS_SUFFIX}")]
    plain = any("." not in name.removesuffix(WEIGHTS_SUFFIX) for name in names)
    return None if plain or not any(".fp16" in name for name in names) else "fp16"


def folder_digest(folder: Path, parts: Iterable[str]) -> str:
    """SHA-256 over the names and contents of the files that are opened, in sorted order."""
    total = hashlib.sha256()
    for part in sorted(parts):
        variant = weights_variant(folder / part)
        for file in sorted((folder / part).iterdir()):
            if file.suffix not in {".json", ".txt", ".model", WEIGHTS_SUFFIX} or not file.is_file():
                continue
            if file.suffix == WEIGHTS_SUFFIX and _file_variant(file) != variant:
                continue
            total.update(f"{part}/{file.name} {file_digest(file)}\n".encode())
    return total.hexdigest()


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal, remembered while the file keeps its size and time."""
    status = file.stat()
    return _file_digest(file.resolve(), status.st_size, status.st_mtime_ns)


def _file_variant(weights: Path) -> str | None:
    stem = weights.name.removesuffix(WEIGHTS_SUFFIX)
    return stem.split(".", 1)[1].split("-")[0] if "." in stem else None


@functools.lru_cache(maxsize=1024)
def _file_digest(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
