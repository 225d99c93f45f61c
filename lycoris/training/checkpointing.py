"""The state of a run on disk: what a killed run needs to go on as if nothing had happened."""

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
    """A file that holds curves, weights and the optimiser's state; all else follows from seed and step.

    The state before the last is kept beside it until `settle`, so that runs trained together can all go back to one
    step, whenever they were killed.

    Args:
        path: of the file, which one process writes at a time; written to one side, in a folder beside it, and moved,
            so it is whole or absent.
        run: what the run depends on, by name; a state of another run is refused.
    """

    path: Path
    identity: Mapping[str, str]

    def steps(self) -> set[int]:
        """Steps after which a state is there.

        Raises:
            InputError: a file is damaged, or belongs to a run that differs; it says in what.
        """
        return set(self._files())

    def write(self, history: History, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Keep the state after as many steps as there are losses.

        Args:
            record: of all steps done.
            tensors, plain: as `Optimization.state` gives them.
        """
        from safetensors.torch import save_file

        kept = {**history.tensors(), **tensors}
        remove_leftovers(self.path.parent, f".{self.path.name}")
        with atomic_write(self.path) as temporary:
            save_file(
                {name: tensor.cpu().contiguous() for name, tensor in kept.items()},
                temporary,
                metadata={
                    "run": json.dumps(dict(self.identity), sort_keys=True),
                    "plain": json.dumps(numbers),
                    "seen": history.callback_json(),
                },
            )
            if self.path.is_file():
                os.replace(self.path, _previous(self.path))

    def commit(self) -> None:
        """Drop the state before the last: the runs trained together have all written theirs."""
        _previous(self.path).unlink(missing_ok=True)

    def read(self, step: int) -> tuple[History, dict[str, Tensor], dict[str, Any]]:
        """The state after a step, one of `steps()`, as it was given to `write`."""
        tensors, metadata = self._open(self._files()[step])
        record = History.from_tensors(tensors, metadata["seen"])
        for name in record.tensors():
            del tensors[name]
        return record, tensors, json.loads(metadata["plain"])

    def _files(self) -> dict[int, Path]:
        """Steps done to the file of the state after them."""
        found = {}
        for path in (_previous(self.path), self.path):
            if path.is_file():
                steps, metadata = self._open(path, only="losses")
                run = json.loads(metadata["run"])
                differing = [name for name in self.identity if run.get(name) != self.identity[name]]
                if differing:
                    raise InputError(
                        f"State `{path}` belongs to a run with other {', '.join(differing)}; "
                        f"remove it to begin anew, or give the arguments it was begun with."
                    )
                found[len(steps["losses"])] = path
        return found

    def _open(self, path: Path, only: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = {"run": "{}", "plain": "{}", "seen": "[]", **(file.metadata() or {})}
                names = file.keys() if only is None else [only]
                return {name: file.get_tensor(name) for name in names}, metadata
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"State `{path}` could not be read: {error}. Remove it to begin anew.") from error
