"""Encodings kept under what they depend on, so that all runs share them and none holds them all in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lycoris.cache.atomic import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

MEMORY_LIMIT = 2**28
"""So many bytes of what was read from files are held; beyond, each use maps the file anew."""


def content_key(*parts: object) -> str:
    """SHA-256 of what an encoding depends on, as 64 hexadecimal digits."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


class TensorCache:
    """Tensors by key, one file each, in a folder; or in memory, where there is no folder.

    A file appears whole or not at all and is never changed, so any number of processes may read and write at once;
    two that make the same one make it alike. Files are mapped into memory, not read.

    Args:
        folder: made when first needed; None keeps everything in memory.
        memory: bytes held of what was read from files.
    """

    def __init__(self, folder: Path | None, memory_limit: int = MEMORY_LIMIT) -> None:
        self.folder = folder
        self._free_memory = memory_limit
        self._in_memory: dict[str, dict[str, Tensor]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._in_memory or self.note(key) is not None

    def note(self, key: str) -> str | None:
        """What was written beside the tensors of a key; None where there are none, or the file is damaged."""
        from safetensors import SafetensorError, safe_open

        if self.folder is None:
            return None
        try:
            with safe_open(self._path(key), framework="pt") as file:
                return (file.metadata() or {}).get("note", "")
        except (OSError, SafetensorError):
            return None

    def read(self, key: str) -> dict[str, Tensor]:
        """The tensors of a key that is kept, on the CPU, not to be written to."""
        from safetensors import safe_open

        if key in self._in_memory:
            return self._in_memory[key]
        with safe_open(self._path(key), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size <= self._free_memory:
            self._free_memory -= size
            self._in_memory[key] = tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        return tensors

    def write(self, key: str, tensors: Mapping[str, Tensor], note: str = "") -> None:
        """Keep tensors, and a note, under a key."""
        from safetensors.torch import save_file

        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        if self.folder is None:
            self._in_memory[key] = plain
            return
        file = self._path(key)
        with atomic_write(file, staging=self.folder) as temporary:
            save_file(plain, temporary, metadata={"note": note})

    def _path(self, key: str) -> Path:
        return (self.folder or Path()) / key[:2] / f"{key}.safetensors"
