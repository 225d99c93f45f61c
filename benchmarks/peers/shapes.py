"""Count one training step of a full-size denoiser on fake tensors, in the environment of one library.

`benchmarks/full_shapes.py` starts one process per library. Commands are JSON lines on standard input; each answer is
one JSON line on standard output. All tensors are on the CPU and hold no values, so memory and speed do not depend on
the model's size.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import diffusers
import torch
from libraries import LIBRARIES
from peer import answer_stream
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import unet_configs  # noqa: E402

SHAPES = json.loads((HERE / "full_shapes.json").read_text())
"""Model -> class and configuration of its denoiser (a name stands for one of `unet_configs`), the shapes of its inputs
at 1024 pixels, and its published size."""


def _load_meter() -> Any:
    """Load this repository's meter, whose package another library's of the same name would hide."""
    spec = importlib.util.spec_from_file_location("meter", HERE.parents[1] / "lycoris" / "planning" / "meter.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Meter


class Denoiser:
    """A denoiser of fake tensors in bfloat16, with the inputs of a step of one image of 1024 pixels."""

    def __init__(self, name: str) -> None:
        FakeTensorMode().__enter__()  # permanently
        nn.Module._apply = lambda module, *_: module  # nothing has to move; fake parameters cannot be swapped
        self.shape = SHAPES[name]
        config = self.shape["config"]
        config = {"sample_size": 128, **getattr(unet_configs, config)} if isinstance(config, str) else config
        torch.set_default_dtype(torch.bfloat16)
        self.model = getattr(diffusers, self.shape["class"])(**config)
        torch.set_default_dtype(torch.float32)
        self.model.requires_grad_(False).eval()  # peft reads a random value in training, which a fake tensor has not
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.stored = self.parameters + sum(buffer.numel() for buffer in self.model.buffers())
        self.library: Any = None

    def describe(self) -> dict:
        """Its parameters, and the numbers that its file stores, buffers included."""
        return {"parameters": self.parameters, "stored": self.stored}

    def layers(self, preset: str) -> dict:
        """The layers that a preset of this repository's library adapts, and the number of all that it could."""
        import lycoris

        part = "unet" if self.shape["class"].startswith("UNet") else "transformer"
        network = lycoris.attach({part: self.model}, "lora", preset=preset, rank=1)
        paths = [place.path for place in network.layers.values()]
        network.detach()
        return {"layers": paths}

    def attach(self, library: str, algorithm: str, layers: list[str], options: dict) -> dict:
        """Attach adapters of one library."""
        if self.library is not None:
            self.library.detach()
        self.library = LIBRARIES[library](self.model, algorithm, layers, options)
        return {"parameters": sum(parameter.numel() for parameter in self.library.parameters())}

    def linear_flops(self, layers: list[str]) -> dict:
        """FLOPs of some Linear layers, of their outputs and of their inputs' gradients."""
        flops: list[int] = []
        hooks = [
            module.register_forward_hook(
                lambda module, inputs, _: flops.append(4 * module.weight.shape[0] * inputs[0].numel())
            )
            for module in map(self.model.get_submodule, layers)
            if isinstance(module, nn.Linear)
        ]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            self._output(self._inputs())
        for hook in hooks:
            hook.remove()
        return {"flops": sum(flops)}

    def count(self) -> dict:
        """FLOPs of forward and backward, bytes kept between them, and the peak, both beyond the parameters."""
        own = [*self.model.parameters(), *(self.library.parameters() if self.library else [])]
        known = {parameter.untyped_storage()._cdata for parameter in own}
        kept: dict[int, Any] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in known:
                kept[storage._cdata] = storage
            return tensor

        inputs = self._inputs()
        with Meter() as meter:
            keep = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
            with keep, torch.autocast("cpu", torch.bfloat16):
                loss = self._output(inputs).float().square().mean()
            kept_bytes = sum(storage.nbytes() for storage in kept.values())
            kept.clear()
            loss.backward()
        for parameter in own:
            parameter.grad = None
        return {"flops": meter.flops, "kept_bytes": kept_bytes, "peak_bytes": meter.peak}

    def _inputs(self) -> dict:
        new = {"dtype": torch.bfloat16}
        inputs: dict[str, Any] = {name: torch.zeros(size, **new) for name, size in self.shape["inputs"].items()}
        for name, size in self.shape.get("lists", {}).items():
            inputs[name] = [torch.zeros(size, **new)]
        for name, group in self.shape.get("nested", {}).items():
            inputs[name] = {key: torch.zeros(size, **new) for key, size in group.items()}
        first = next(name for name in ("hidden_states", "sample", "x") if name in inputs)
        (inputs[first][0] if isinstance(inputs[first], list) else inputs[first]).requires_grad_()
        for name, value in self.shape.get("constants", {}).items():
            inputs[name] = [[tuple(each) for each in one] for one in value]
        return inputs

    def _output(self, inputs: dict) -> Tensor:
        output = self.model(**inputs, return_dict=False)[0]
        return output[0] if isinstance(output, list) else output


Meter = _load_meter()


def main() -> None:
    output = answer_stream()
    warnings.simplefilter("ignore")
    denoiser = None
    for line in sys.stdin:
        command, arguments = json.loads(line)
        if command == "build":
            denoiser = Denoiser(**arguments)
            answer = denoiser.describe()
        else:
            try:
                answer = getattr(denoiser, command)(**arguments)
            except Exception as error:  # a library that cannot is a result
                answer = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
        print(json.dumps(answer), file=output, flush=True)


if __name__ == "__main__":
    main()
