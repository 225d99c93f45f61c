"""Measure one library's adapters on a UNet of SD-1.5's shape, in that library's environment.

`benchmarks/adapters.py` starts one process per library. Commands are JSON lines on standard input; each answer is one
JSON line on standard output.
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
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from libraries import LIBRARIES
from peer import answer_stream
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import flop_counter
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

aten = torch.ops.aten


class MemoryTracker(TorchDispatchMode):
    """Tracks the bytes of all tensors that are created inside it; `peak` is the largest total at one time."""

    def __init__(self):
        super().__init__()
        self.current = self.peak = 0
        self.storages = WeakIdKeyDictionary()

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        result = operation(*arguments, **(keywords or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in self.storages:
                storage = tensor.untyped_storage()
                inputs = (t for t in tree_leaves((arguments, keywords)) if isinstance(t, Tensor))
                if all(t.untyped_storage()._cdata != storage._cdata for t in inputs):
                    self.storages[storage] = None
                    self.current += storage.nbytes()
                    self.peak = max(self.peak, self.current)
                    weakref.finalize(storage, self._release, storage.nbytes())
        return result

    def _release(self, size: int) -> None:
        self.current -= size


class Step:
    """A UNet and one training step on it: forward, backward, and AdamW on the trainable parameters."""

    def __init__(
        self, *, width: int, latent: int, batch: int, device: str, dtype: str, fake: bool, cpu_time: bool = False
    ):
        self.clock = time.process_time if cpu_time else time.perf_counter
        if fake:
            FakeTensorMode().__enter__()  # permanently: operations on tensors that have only shapes
            nn.Module._apply = lambda module, *_: module  # nothing has to move; fake parameters cannot be swapped
        torch.manual_seed(0)
        self.device, self.dtype = torch.device(device), getattr(torch, dtype)
        widths = (width, 2 * width, 4 * width, 4 * width)
        torch.set_default_dtype(self.dtype)
        with self.device if fake else torch.device("meta"):  # real parameters get memory and values below
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
        self.training = not fake  # peft reads a random value in training, which a fake tensor does not have
        new = {"device": self.device, "dtype": self.dtype}
        self.noisy = torch.randn(batch, 4, latent, latent, **new).requires_grad_()
        self.text, self.target = torch.randn(batch, 77, 768, **new), torch.randn(batch, 4, latent, latent, **new)
        self.time = torch.full((batch,), 500, device=self.device)
        self.library = None
        self.optimizer = None

    def attach(self, library: str, algorithm: str, layers: list[str], options: dict) -> dict:
        """Attach adapters, and give every parameter a small random value, as training does."""
        start = self._clock()
        self.library = LIBRARIES[library](self.unet, algorithm, layers, options)
        seconds = self._clock() - start
        self.unet.train(self.training)
        parameters = self.library.parameters()
        for parameter in parameters:
            nn.init.normal_(parameter, std=0.01)
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-4)
        return {"attach_s": seconds, "parameters": sum(p.numel() for p in parameters)}

    def forward(self) -> Tensor:
        out = self.unet(self.noisy, self.time, self.text).sample
        return (out.float() - self.target.float()).square().mean()

    def __call__(self) -> None:
        self.noisy.grad = None
        if self.optimizer is not None:
            self.optimizer.zero_grad()
        self.forward().backward()
        if self.optimizer is not None:
            self.optimizer.step()

    def seconds(self, frozen: bool = False) -> float:
        """Time one step, in seconds; without adapters when `frozen`."""
        optimizer = self.optimizer
        if frozen:
            self.library.detach()
            self.optimizer = None
        start = self._clock()
        self()
        seconds = self._clock() - start
        if frozen:
            self.library.reattach()
            self.optimizer = optimizer
        return seconds

    def count(self) -> dict:
        """Count FLOPs of one step, bytes saved for backward and peak bytes, both beyond the parameters."""
        own = [*self.unet.parameters(), *(self.library.parameters() if self.library else [])]
        own = {parameter.untyped_storage()._cdata for parameter in own}
        self()  # the optimizer's state exists before anything is counted
        with (
            MemoryTracker() as held,
            flop_counter.FlopCounterMode(display=False, custom_mapping=_CUSTOM_FLOPS) as counter,
        ):
            self()
        saved_storages = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                saved_storages[storage._cdata] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = self.forward()
        saved = sum(storage.nbytes() for storage in saved_storages.values())
        del loss
        return {"flops": counter.get_total_flops(), "saved_bytes": saved, "peak_bytes": held.peak}

    def files(self, repeats: int = 3) -> dict:
        """Measure median times of saving and loading, in seconds, and the file's size."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "adapter.safetensors")
            seconds = {}
            for name in ("save", "load"):
                times = []
                for _ in range(repeats):
                    start = self._clock()
                    getattr(self.library, name)(path)
                    times.append(self._clock() - start)
                seconds[f"{name}_s"] = statistics.median(times)
            return {**seconds, "file_bytes": path.stat().st_size}

    def peak(self) -> dict:
        """Measure the peak of the GPU's allocator in a step, weights and optimizer included."""
        torch.cuda.reset_peak_memory_stats()
        self()
        torch.cuda.synchronize()
        return {"gpu_peak_bytes": torch.cuda.max_memory_allocated()}

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.clock()


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
"""FLOP counts of operations that PyTorch's counter does not know: in-place products and the CPU's attention."""


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
