"""Paths of a PEFT adapter: a folder with the tensors and their configuration, or one such folder per part."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from lycoris.adapters.files.layer_names import PIPELINE_PARTS
from lycoris.errors import InputError

TENSORS_FILE = "adapter_model.safetensors"


def tensor_files(path: str | PathLike[str]) -> dict[str, Path]:
    """Return part → file of tensors. The part is ``""`` for a file, and for a folder that has the tensors itself.

    Raises:
        InputError: a folder has no such file.
    """
    path = Path(path)
    if not path.is_dir():
        return {"": path}
    if (path / TENSORS_FILE).exists():
        return {"": path / TENSORS_FILE}
    files = {part: path / part / TENSORS_FILE for part in PIPELINE_PARTS if (path / part / TENSORS_FILE).exists()}
    if not files:
        raise InputError(
            f"Folder `{path}` must have an `{TENSORS_FILE}`, itself or under the name of a part, but has none."
        )
    return files


def output_files(path: str | PathLike[str], parts: list[str]) -> tuple[dict[str, Path], bool]:
    """Return part → file to write, and whether a configuration goes beside it.

    A path that ends in `.safetensors` is one file, any other a folder.

    Raises:
        InputError: there are several parts, but `path` can hold one.
    """
    path, several = Path(path), len(parts) > 1
    if path.suffix != ".safetensors":
        if several and (path / TENSORS_FILE).exists():
            raise InputError(f"Folder `{path}` has an adapter of one model already; the network is on {parts}.")
        return {part: (path / part if several else path) / TENSORS_FILE for part in parts}, True
    if path.name == TENSORS_FILE and several:
        raise InputError(
            f"PEFT has one model a file, but the network is on {parts}: give a folder instead of `{path}`."
        )
    return {part: path for part in parts}, path.name == TENSORS_FILE
