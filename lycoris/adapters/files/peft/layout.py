"""Where a PEFT adapter lies: a folder with the tensors and their configuration, for several parts one folder each."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from lycoris.adapters.files.layer_names import PIPELINE_PARTS
from lycoris.errors import InputError

TENSORS_FILE = "adapter_model.safetensors"


def tensor_files(path: str | PathLike[str]) -> dict[str, Path]:
    """Part → file of tensors, ``""`` for the part of a file that is given itself or lies in the folder that is.

    Raises:
        InputError: a folder without such a file.
    """
    path = Path(path)
    if not path.is_dir():
        return {"": path}
    if (path / TENSORS_FILE).exists():
        return {"": path / TENSORS_FILE}
    found = {part: path / part / TENSORS_FILE for part in PIPELINE_PARTS if (path / part / TENSORS_FILE).exists()}
    if not found:
        raise InputError(
            f"Folder `{path}` must have an `{TENSORS_FILE}`, itself or under the name of a part, but has none."
        )
    return found


def output_files(path: str | PathLike[str], parts: list[str]) -> tuple[dict[str, Path], bool]:
    """Part → file to write, and whether a configuration goes beside it.

    A path that ends in `.safetensors` is one file, any other a folder.

    Raises:
        InputError: several parts, for which there is one file with a configuration, now or already.
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
