"""The state of a run on disk: what a killed run needs to go on as if nothing had happened."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lycoris.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter
    from torch.optim import Optimizer


@dataclass(frozen=True)
class RunState:
    """A file that holds losses, weights and optimiser moments; all else follows from seed and step.

    Args:
        path: of the file; written to one side and renamed, so it is whole or absent.
        run: what the run depends on, by name; a state of another run is refused.
    """

    path: Path
    run: Mapping[str, str]

    def write(self, losses: Sequence[float], parameters: Mapping[str, Parameter], optimizer: Optimizer) -> None:
        """Keep the state after as many steps as there are losses."""
        from safetensors.torch import save_file

        tensors = {"losses": torch.tensor(losses, dtype=torch.float64)}
        for name, parameter in parameters.items():
            tensors[f"weight/{name}"] = parameter.detach()
            for kind, moment in optimizer.state[parameter].items():
                tensors[f"{kind}/{name}"] = moment
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            save_file(
                {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
                unfinished,
                metadata={"run": json.dumps(dict(self.run), sort_keys=True)},
            )
            os.replace(unfinished, self.path)
        finally:
            unfinished.unlink(missing_ok=True)

    @torch.no_grad()
    def read(self, parameters: Mapping[str, Parameter], optimizer: Optimizer) -> list[float]:
        """Restore weights and moments in place.

        Returns:
            The losses of the steps done; none when there is no state yet.

        Raises:
            InputError: the file is damaged, or belongs to a run that differs; it says in what.
        """
        if not self.path.is_file():
            return []
        tensors, run = self._open()
        differing = [name for name in self.run if run.get(name) != self.run[name]]
        if differing:
            raise InputError(
                f"State `{self.path}` belongs to a run with other {', '.join(differing)}; "
                f"remove it to begin anew, or give the arguments it was begun with."
            )
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            optimizer.state[parameter] = {
                key.split("/", 1)[0]: _like(value, parameter)
                for key, value in tensors.items()
                if key.split("/", 1)[-1] == name and not key.startswith("weight/")
            }
        return tensors["losses"].tolist()

    def _open(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                run = json.loads((file.metadata() or {}).get("run", "{}"))
                return {name: file.get_tensor(name) for name in file.keys()}, run  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"State `{self.path}` could not be read: {error}. Remove it to begin anew.") from error


def _like(value: Tensor, parameter: Parameter) -> Tensor:
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    return torch.empty_like(parameter).copy_(value)
