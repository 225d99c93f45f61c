"""Step time and memory of one library's adapters on one model: a script, so that each library has its own process.

    python benchmarks/gpu/step_times.py --library ours --model sd15 --steps 10

`python -m benchmarks.gpu` starts it. It prints one JSON object per line and case. It imports nothing of this project
unless the library is ours, as `lycoris-lora` installs a module of the same name.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCHMARKS / "peers"), str(BENCHMARKS)]

from libraries import LIBRARIES  # noqa: E402
from unet_configs import SD15, SDXL  # noqa: E402

ALGORITHMS = {"lora": {"rank": 16, "alpha": 16.0}, "loha": {"rank": 4, "alpha": 4.0}, "lokr": {"factor": 8}}
ADAPTED = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2", "proj_mlp", "proj_out")
"""Last words of the layers that the preset `attn-mlp` selects in these models."""
WARMUP = 3


@dataclass(frozen=True)
class Line:
    """A model with inputs.

    Attributes:
        build: returns the module, on the current device, and its keyword inputs but for the batch's first one.
        batch: images in a step.
    """

    build: Callable[[int, bool, dict[str, Any]], tuple[nn.Module, dict[str, Any], Tensor]]
    batch: int


def _unet(batch: int, small: bool, new: dict[str, Any], config: dict[str, Any], latent: int):
    from diffusers import UNet2DConditionModel

    if small:
        config, latent = {**config, **_SMALL_UNET, "cross_attention_dim": 64}, 8
    unet = UNet2DConditionModel(**config)
    text = torch.randn(batch, 77, unet.config.cross_attention_dim, **new)
    inputs: dict[str, Any] = {
        "timestep": torch.full((batch,), 500, device=new["device"]),
        "encoder_hidden_states": text,
    }
    if unet.config.addition_embed_type == "text_time":
        pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
        inputs["added_cond_kwargs"] = {
            "text_embeds": torch.randn(batch, pooled, **new),
            "time_ids": torch.zeros(batch, 6, **new),
        }
    return unet, inputs, torch.randn(batch, 4, latent, latent, **new)


def _flux(batch: int, small: bool, new: dict[str, Any]):
    from diffusers import FluxTransformer2DModel

    heads, tokens, texts = (2, 16, 8) if small else (24, 1024, 512)
    axes = (8, 12, 12) if small else (16, 56, 56)
    size = {
        "num_attention_heads": heads,
        "attention_head_dim": sum(axes),
        "axes_dims_rope": axes,
        "joint_attention_dim": 64 if small else 4096,
        "pooled_projection_dim": 64 if small else 768,
    }
    transformer = FluxTransformer2DModel(num_layers=2, num_single_layers=4, guidance_embeds=True, **size)
    inputs = {
        "encoder_hidden_states": torch.randn(batch, texts, size["joint_attention_dim"], **new),
        "pooled_projections": torch.randn(batch, size["pooled_projection_dim"], **new),
        "timestep": torch.full((batch,), 0.5, **new),
        "guidance": torch.full((batch,), 3.5, **new),
        "img_ids": torch.zeros(tokens, 3, **new),
        "txt_ids": torch.zeros(texts, 3, **new),
    }
    return transformer, inputs, torch.randn(batch, tokens, 64, **new)


_SMALL_UNET = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": 1,
}
LINES = {
    "sd15": Line(lambda batch, small, new: _unet(batch, small, new, SD15, 64), 8),
    "sdxl": Line(lambda batch, small, new: _unet(batch, small, new, SDXL, 128), 2),
    "flux-blocks": Line(_flux, 1),
}
"""Models by name: SD 1.5's UNet, SDXL's, and two double and four single blocks of FLUX.1's width."""


class TrainingStep:
    """Forward, backward and AdamW, with the model's weights and activations in bfloat16 and adapters in float32."""

    def __init__(self, line: Line, device: torch.device, small: bool):
        torch.manual_seed(0)
        self.device = device
        new = {"device": device, "dtype": torch.bfloat16}
        torch.set_default_dtype(torch.bfloat16)
        with device:
            self.model, self.inputs, self.noisy = line.build(1 if small else line.batch, small, new)
        torch.set_default_dtype(torch.float32)
        self.model.to(device).requires_grad_(False)
        self.layers = [
            name
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and name.endswith(ADAPTED) and "." in name
        ]
        self.target = torch.randn_like(self.noisy)
        self.call: Callable[..., Any] = self.model
        self.optimizer: torch.optim.Optimizer | None = None

    def __call__(self) -> None:
        noisy = self.noisy.detach().requires_grad_()
        if self.optimizer is not None:
            self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16):
            out = self.call(noisy, **self.inputs, return_dict=False)[0]
        (out.float() - self.target.float()).square().mean().backward()
        if self.optimizer is not None:
            self.optimizer.step()

    def measure(self, steps: int) -> dict[str, float]:
        """Median milliseconds of a step, and the peak of allocated memory in MiB (0 without a GPU)."""
        for _ in range(WARMUP):
            self()
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        times = []
        for _ in range(steps):
            started = self._clock()
            self()
            times.append(self._clock() - started)
        peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else 0.0
        return {"step_ms": 1000 * statistics.median(times), "peak_mib": peak}

    def tflops(self) -> float:
        """TFLOP of one step."""
        with FlopCounterMode(display=False) as counter:
            self()
        return counter.get_total_flops() / 1e12

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def matmul_rate(device: torch.device, side: int) -> float:
    """TFLOP/s of a product of two square bfloat16 matrices: what this card reaches at best."""
    left = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    synchronize = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    times = []
    for _ in range(8):
        synchronize()
        started = time.perf_counter()
        left @ left
        synchronize()
        times.append(time.perf_counter() - started)
    return 2 * side**3 / min(times) / 1e12


def main() -> None:
    """Print the frozen model's line, and one for each algorithm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", choices=LIBRARIES, default="ours")
    parser.add_argument("--model", choices=LINES, default="sd15")
    parser.add_argument("--algorithms", default=",".join(ALGORITHMS))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="compile the model with its adapters")
    parser.add_argument("--small", action="store_true", help="tiny models, to try the script")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rate = matmul_rate(device, 128 if arguments.small else 8192)
    own = arguments.library == "ours" and not arguments.compile
    for algorithm in [*(["frozen"] if own else []), *arguments.algorithms.split(",")]:
        step = TrainingStep(LINES[arguments.model], device, arguments.small)
        if algorithm != "frozen":
            library = LIBRARIES[arguments.library](step.model, algorithm, step.layers, ALGORITHMS[algorithm])
            parameters = library.parameters()
            step.optimizer = torch.optim.AdamW(parameters, lr=1e-4)
        case = {"model": arguments.model, "algorithm": algorithm, "library": arguments.library}
        case["mode"] = "compiled" if arguments.compile else "eager"
        flops = step.tflops()
        if arguments.compile:
            step.call = torch.compile(step.model)
        values = step.measure(arguments.steps)
        share = flops / (values["step_ms"] / 1000) / rate
        print(json.dumps({**case, **values, "tflop": flops, "share_of_bf16_rate": share}), flush=True)
        del step
        if device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
