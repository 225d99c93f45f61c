"""Compare the drop-in with `lycoris-lora` on the adapted layers of SD 1.5's UNet at full width, one shape at a time.

    python benchmarks/peers/setup.py                 # once: the peers' environments
    python benchmarks/layers.py                      # attn-mlp, 64x64 latents, batch 1
    python benchmarks/layers.py --batch 4 --repeats 9

A step is forward and backward of one layer, with the gradient of its input, and AdamW. Each library has its own
process; their steps take turns, and CPU seconds of one thread are measured, so that other load affects both alike. The
sum is over all layers of the preset, each shape as often as the UNet has it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WIDTHS = (320, 640, 1280)
TEXT_WIDTH, TEXT_TOKENS = 768, 77
BLOCKS = {320: 5, 640: 5, 1280: 6}
"""Width → its transformer blocks; one of those of 1280 is the middle block, at a quarter of the positions."""
OPTIONS = {
    "loha": {"linear_dim": 4, "linear_alpha": 2.0},
    "lokr": {"linear_dim": 10000, "linear_alpha": 1.0, "factor": 8},
}


def shapes(latent: int, batch: int) -> dict[str, tuple[int, int, int, int]]:
    """Return tokens, inputs, outputs and number of layers of each shape in attn-mlp."""
    found: dict[str, tuple[int, int, int, int]] = {}

    def add(name: str, tokens: int, inputs: int, outputs: int, count: int) -> None:
        found[name] = (tokens * batch, inputs, outputs, count)

    for level, width in enumerate(WIDTHS):
        positions = (latent >> level) ** 2
        blocks = [(positions, BLOCKS[width])]
        if width == WIDTHS[-1]:
            blocks = [(positions, BLOCKS[width] - 1), (positions // 4, 1)]
        for tokens, count in blocks:
            add(f"{tokens} x {width} to {width}", tokens, width, width, 6 * count)  # q, k, v, out, q, out
            add(f"{tokens} x {width} to {8 * width}", tokens, width, 8 * width, count)
            add(f"{tokens} x {4 * width} to {width}", tokens, 4 * width, width, count)
        add(f"text to {width}", TEXT_TOKENS, TEXT_WIDTH, width, 2 * BLOCKS[width])
    return found


def serve(algorithm: str) -> None:
    """Time steps in this process: a shape as JSON on standard input, seconds on standard output."""
    answers, sys.stdout = sys.stdout, sys.stderr  # a library logs to the standard output
    import torch
    from torch import nn

    from lycoris import create_lycoris

    torch.set_num_threads(1)
    models: dict[tuple[int, ...], tuple] = {}
    for line in sys.stdin:
        tokens, inputs, outputs = json.loads(line)
        if (tokens, inputs, outputs) not in models:
            torch.manual_seed(0)
            model = nn.ModuleDict({"layer": nn.Linear(inputs, outputs)}).requires_grad_(False)
            network = create_lycoris(model, 1.0, algo=algorithm, **OPTIONS[algorithm])
            network.apply_to()
            parameters = list(network.parameters())
            for parameter in parameters:
                nn.init.normal_(parameter, std=0.01)
            models[tokens, inputs, outputs] = model, network, torch.optim.AdamW(parameters, lr=1e-4)
        model, _, optimizer = models[tokens, inputs, outputs]
        x, gradient = torch.randn(1, tokens, inputs, requires_grad=True), torch.randn(1, tokens, outputs)
        start = time.process_time()
        optimizer.zero_grad()
        model["layer"](x).backward(gradient)
        optimizer.step()
        print(time.process_time() - start, file=answers, flush=True)


def start(python: str, path: str, algorithm: str) -> subprocess.Popen:
    """Start a process that serves one library."""
    return subprocess.Popen(
        [python, __file__, "--serve", algorithm],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


def main() -> None:
    """Print seconds by shape and their sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithms", default="loha,lokr")
    parser.add_argument("--latent", type=int, default=64, help="side of the latents")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", help="Python with `lycoris-lora`; default: of benchmarks/peers/setup.py")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    sys.path.insert(0, str(ROOT / "benchmarks" / "peers"))
    from setup import interpreter

    peer = arguments.peer or str(interpreter("lycoris-lora"))
    for algorithm in arguments.algorithms.split(","):
        workers = {
            "drop-in": start(sys.executable, str(ROOT), algorithm),
            "lycoris-lora": start(peer, "", algorithm),
        }
        total = dict.fromkeys(workers, 0.0)
        for name, (tokens, inputs, outputs, count) in shapes(arguments.latent, arguments.batch).items():
            times: dict[str, list[float]] = {library: [] for library in workers}
            for turn in range(arguments.repeats + 1):
                for library, worker in workers.items():
                    assert worker.stdin is not None
                    assert worker.stdout is not None
                    print(json.dumps([tokens, inputs, outputs]), file=worker.stdin, flush=True)
                    seconds = float(worker.stdout.readline())
                    times[library] += [seconds] if turn else []
            medians = {library: statistics.median(values) for library, values in times.items()}
            ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
            print(f"{algorithm} {name:24s}" + "".join(f"{value:9.4f}" for value in medians.values()) + f"{ratio:7.2f}")
            for library, value in medians.items():
                total[library] += count * value
        print(f"{algorithm} {'all layers':24s}" + "".join(f"{each:9.3f}" for each in total.values()), end="")
        print(f"{total['drop-in'] / total['lycoris-lora']:7.2f}", flush=True)
        for worker in workers.values():
            worker.communicate()


if __name__ == "__main__":
    main()
