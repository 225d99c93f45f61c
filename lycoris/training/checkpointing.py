"""Checkpoints of a run: what a killed run needs to resume as if nothing had happened."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.cache.atomic import atomic_write, remove_leftovers
from lycoris.errors import InputError
from lycoris.training.history import History

if TYPE_CHECKING:
    from torch import Tensor


def _previous(path: Path) -> Path:
    return path.with_suffix(f".before{path.suffix}")


@dataclass(frozen=True)
class CheckpointFile:
    """A file with curves, weights and the optimizer's state; everything else follows from seed and step.

    The previous state stays beside it until `commit`, so that co-trained runs can all resume from one step, whenever
    they were killed.

    Args:
        path: the file; one process writes it at a time, atomically.
        identity: everything the run depends on, by name; a checkpoint of another run is refused.
    """

    path: Path
    identity: Mapping[str, str]

    def steps(self) -> set[int]:
        """Steps that a state exists for.

        Raises:
            InputError: a file is damaged, or is of another run; the message says what differs.
        """
        return set(self._files())

    def write(self, history: History, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Write the state after as many steps as there are losses.

        Args:
            history: measurements of all steps.
            tensors: from `RunOptimizer.state`.
            numbers: likewise.
        """
        from safetensors.torch import save_file

        state = {**history.tensors(), **tensors}
        remove_leftovers(self.path.parent, f".{self.path.name}")
        with atomic_write(self.path) as temporary:
            save_file(
                {name: tensor.cpu().contiguous() for name, tensor in state.items()},
                temporary,
                metadata={
                    "identity": json.dumps(dict(self.identity), sort_keys=True),
                    "numbers": json.dumps(numbers),
                    "callback_records": history.callback_json(),
                },
            )
            if self.path.is_file():
                os.replace(self.path, _previous(self.path))

    def commit(self) -> None:
        """Delete the previous state, since all co-trained runs have written their last one."""
        _previous(self.path).unlink(missing_ok=True)

    def read(self, step: int) -> tuple[History, dict[str, Tensor], dict[str, Any]]:
        """Read the state after a step, one of `steps()`, as passed to `write`."""
        tensors, metadata = self._open(self._files()[step])
        history = History.from_tensors(tensors, metadata["callback_records"])
        for name in history.tensors():
            del tensors[name]
        return history, tensors, json.loads(metadata["numbers"])

    def _files(self) -> dict[int, Path]:
        """Step to the file with the state after it."""
        files = {}
        for path in (_previous(self.path), self.path):
            if path.is_file():
                steps, metadata = self._open(path, only="losses")
                identity = json.loads(metadata["identity"])
                differing = [name for name in self.identity if identity.get(name) != self.identity[name]]
                if differing:
                    raise InputError(
                        f"Checkpoint `{path}` belongs to a run with other {', '.join(differing)}; "
                        f"delete it to start again, or pass the arguments that the run was started with."
                    )
                files[len(steps["losses"])] = path
        return files

    def _open(self, path: Path, only: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = {"identity": "{}", "numbers": "{}", "callback_records": "[]", **(file.metadata() or {})}
                names = file.keys() if only is None else [only]
                return {name: file.get_tensor(name) for name in names}, metadata
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"Checkpoint `{path}` could not be read: {error}. Delete it to start again.") from error
