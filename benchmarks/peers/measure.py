"""One library's adapters on a UNet of SD-1.5's shape: answers commands given as JSON lines, in any of the environments.

Started by `benchmarks/adapters.py`, one process a library; each answer is one JSON line on standard output.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy
import torch
from diffusers import UNet2DConditionModel
from peer import answer_stream, peft_config
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

aten = torch.ops.aten


class Ours:
    """`lycoris` of this repository."""

    def __init__(self, unet: nn.Module, algorithm: str, layers: list[str], options: dict):
        import lycoris

        self.unet = unet
        network = lycoris.attach(
            {"unet": unet}, algorithm, layers=[name.replace(".", r"\.") for name in layers], **options
        )
        self.network, self.load_file = network, lycoris.load

    def parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    def save(self, path: Path) -> None:
        self.network.save(path)

    def load(self, path: Path) -> None:
        self.network.detach()
        self.network = self.load_file(path, {"unet": self.unet})

    def detach(self) -> None:
        self.network.detach()

    def reattach(self) -> None:
        self.network.reattach()


class LycorisLora:
    """`lycoris-lora`, with its default forward, which builds the delta."""

    def __init__(self, unet: nn.Module, algorithm: str, layers: list[str], options: dict):
        import logging

        from lycoris import create_lycoris

        logging.disable(logging.WARNING)
        preset = {"target_module": [], "target_name": layers, "use_fnmatch": True, "enable_conv": True}
        rank = options.get("rank", 10000)
        more = {"factor": options["factor"], "full_matrix": True} if algorithm == "lokr" else {}
        path = Path(tempfile.mkdtemp()) / "preset.toml"
        path.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in preset.items()))
        alpha = options.get("alpha", rank)
        tensor = torch.tensor  # it multiplies a kernel's sizes as a tensor, whose value a fake one would not have
        with unet.device if unet.device.type != "cpu" else nullcontext():
            torch.tensor = lambda data, **more: numpy.array(data) if isinstance(data, tuple) else tensor(data, **more)
            try:
                self.network = create_lycoris(unet, 1.0, rank, alpha, algo=algorithm, preset=str(path), **more)
            finally:
                torch.tensor = tensor
        self.network.apply_to()

    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self.network.parameters() if p.requires_grad]

    def save(self, path: Path) -> None:
        self.network.save_weights(str(path), None, {})

    def load(self, path: Path) -> None:
        self.network.load_weights(str(path))


class Peft:
    """`peft`."""

    def __init__(self, unet: nn.Module, algorithm: str, layers: list[str], options: dict):
        import peft

        self.unet, self.peft = unet, peft
        peft.inject_adapter_in_model(peft_config(algorithm, options, layers), unet)

    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self.unet.parameters() if p.requires_grad]

    def save(self, path: Path) -> None:
        from safetensors.torch import save_file

        save_file(self.peft.get_peft_model_state_dict(self.unet), path)

    def load(self, path: Path) -> None:
        from safetensors.torch import load_file

        self.peft.set_peft_model_state_dict(self.unet, load_file(path))


class MemoryTracker(TorchDispatchMode):
    """Follows the bytes of all tensors made inside it; `peak` is the most that lived at once."""

    def __init__(self):
        super().__init__()
        self.current = self.peak = 0
        self.storages = WeakIdKeyDictionary()

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        made = operation(*arguments, **(keywords or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in self.storages:
                storage = tensor.untyped_storage()
                inputs = (t for t in tree_leaves((arguments, keywords)) if isinstance(t, Tensor))
                if all(t.untyped_storage()._cdata != storage._cdata for t in inputs):
                    self.storages[storage] = None
                    self.current += storage.nbytes()
                    self.peak = max(self.peak, self.current)
                    weakref.finalize(storage, self._release, storage.nbytes())
        return made

    def _release(self, size: int) -> None:
        self.current -= size


LIBRARIES = {"ours": Ours, "lycoris-lora": LycorisLora, "peft": Peft}


class Step:
    """A UNet and one training step on it: forward, backward, AdamW on what trains."""

    def __init__(self, *, width: int, latent: int, batch: int, device: str, dtype: str, fake: bool):
        if fake:
            FakeTensorMode().__enter__()  # for good: real operations on tensors that have shapes alone
            nn.Module._apply = lambda module, *_: module  # all is where it belongs; fake parameters cannot be swapped
        torch.manual_seed(0)
        self.device, self.dtype = torch.device(device), getattr(torch, dtype)
        widths = (width, 2 * width, 4 * width, 4 * width)
        torch.set_default_dtype(self.dtype)
        with (
            self.device if fake else torch.device("meta")
        ):  # what is not fake gets its memory once, and its values below
            self.unet = UNet2DConditionModel(block_out_channels=widths, cross_attention_dim=768, attention_head_dim=8)
        torch.set_default_dtype(torch.float32)
        if not fake:
            self.unet.to_empty(device=self.device)
        for name, parameter in self.unet.named_parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            else:
                nn.init.constant_(parameter, 1.0 if name.endswith("weight") else 0.0)
        self.unet.requires_grad_(False)
        self.training = not fake  # peft looks at a random value in training, which a fake tensor has not
        new = {"device": self.device, "dtype": self.dtype}
        self.noisy = torch.randn(batch, 4, latent, latent, **new).requires_grad_()
        self.text, self.target = torch.randn(batch, 77, 768, **new), torch.randn(batch, 4, latent, latent, **new)
        self.time = torch.full((batch,), 500, device=self.device)
        self.library = None
        self.optimiser = None

    def attach(self, library: str, algorithm: str, layers: list[str], options: dict) -> dict:
        """Put adapters on; every parameter gets a small random value, as after some training."""
        began = self._clock()
        self.library = LIBRARIES[library](self.unet, algorithm, layers, options)
        seconds = self._clock() - began
        self.unet.train(self.training)
        parameters = self.library.parameters()
        for parameter in parameters:
            nn.init.normal_(parameter, std=0.01)
        self.optimiser = torch.optim.AdamW(parameters, lr=1e-4)
        return {"attach_s": seconds, "parameters": sum(p.numel() for p in parameters)}

    def forward(self) -> Tensor:
        out = self.unet(self.noisy, self.time, self.text).sample
        return (out.float() - self.target.float()).square().mean()

    def __call__(self) -> None:
        self.noisy.grad = None
        if self.optimiser is not None:
            self.optimiser.zero_grad()
        self.forward().backward()
        if self.optimiser is not None:
            self.optimiser.step()

    def seconds(self, frozen: bool = False) -> float:
        """Time of one step, in seconds; of the base alone when `frozen`."""
        optimiser = self.optimiser
        if frozen:
            self.library.detach()
            self.optimiser = None
        began = self._clock()
        self()
        seconds = self._clock() - began
        if frozen:
            self.library.reattach()
            self.optimiser = optimiser
        return seconds

    def count(self) -> dict:
        """FLOPs of one step, bytes kept for its backward and the most held at once, both beyond the parameters."""
        own = [*self.unet.parameters(), *(self.library.parameters() if self.library else [])]
        own = {parameter.untyped_storage()._cdata for parameter in own}
        self()  # the optimiser's state is there before anything is counted
        with (
            MemoryTracker() as held,
            flop_counter.FlopCounterMode(display=False, custom_mapping=_CUSTOM_FLOPS) as counter,
        ):
            self()
        kept = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                kept[storage._cdata] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = self.forward()
        saved = sum(storage.nbytes() for storage in kept.values())
        del loss
        return {"flops": counter.get_total_flops(), "saved_bytes": saved, "peak_bytes": held.peak}

    def files(self, repeats: int = 3) -> dict:
        """Median times of saving and loading, in seconds, and the file's size."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "adapter.safetensors")
            found = {}
            for name in ("save", "load"):
                times = []
                for _ in range(repeats):
                    began = self._clock()
                    getattr(self.library, name)(path)
                    times.append(self._clock() - began)
                found[f"{name}_s"] = statistics.median(times)
            return {**found, "file_bytes": path.stat().st_size}

    def peak(self) -> dict:
        """What the GPU's allocator held at most in a step, weights and optimiser included."""
        torch.cuda.reset_peak_memory_stats()
        self()
        torch.cuda.synchronize()
        return {"gpu_peak_bytes": torch.cuda.max_memory_allocated()}

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def _matmul_flops(into, left, right, *args, **kwargs) -> int:
    return 2 * math.prod(left) * right[-1]


def _attention_flops(query, key, value, *args, **kwargs) -> int:
    return flop_counter.sdpa_flop_count(query, key, value)


def _attention_backward_flops(grad, query, key, value, *args, **kwargs) -> int:
    return flop_counter.sdpa_backward_flop_count(grad, query, key, value)


_CUSTOM_FLOPS: dict[object, Callable] = {
    aten.addmm_: _matmul_flops,
    aten.baddbmm_: _matmul_flops,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}
"""Operations that PyTorch's counter does not know: the in-place products and the CPU's attention."""


def main() -> None:
    output = answer_stream()
    step = None
    for line in sys.stdin:
        command, arguments = json.loads(line)
        if command == "build":
            torch.set_num_threads(arguments.pop("threads"))
            step = Step(**arguments)
            answer = {"torch": torch.__version__}
        elif command == "attach":
            answer = step.attach(**arguments)
        else:
            answer = getattr(step, command)(**arguments)
        print(json.dumps(answer), file=output, flush=True)


if __name__ == "__main__":
    main()
