"""A cache of encodings by content, shared by all runs without holding everything in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lycoris.cache.atomic import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

MEMORY_LIMIT = 2**28
"""Bytes of file contents held in memory; beyond that, each access maps the file again."""


def content_key(*parts: object) -> str:
    """SHA-256 of everything an encoding depends on, as 64 hexadecimal digits."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


class TensorCache:
    """Tensors by key, one file each, in a folder; or in memory without a folder.

    Files are written atomically and never change, so any number of processes may read and write concurrently; two that
    write the same key write the same tensors. Files are mapped into memory, not read.

    Args:
        folder: created when first needed; None keeps everything in memory.
        memory_limit: bytes of file contents held in memory.
    """

    def __init__(self, folder: Path | None, memory_limit: int = MEMORY_LIMIT) -> None:
        self.folder = folder
        self._free_memory = memory_limit
        self._in_memory: dict[str, dict[str, Tensor]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._in_memory or self.note(key) is not None

    def note(self, key: str) -> str | None:
        """The note written with the tensors of a key; None if there are none, or the file is damaged."""
        from safetensors import SafetensorError, safe_open

        if self.folder is None:
            return None
        try:
            with safe_open(self._path(key), framework="pt") as file:
                return (file.metadata() or {}).get("note", "")
        except (OSError, SafetensorError):
            return None

    def read(self, key: str) -> dict[str, Tensor]:
        """Read the tensors of a cached key, on the CPU; they must not be modified."""
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
        """Write tensors, and a note, under a key."""
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
