"""Compare our adapters with `lycoris-lora` and `peft` on a UNet of SD-1.5's shape with random weights.

    python benchmarks/peers/setup.py                 # once: the peers' environments
    python benchmarks/adapters.py                    # FLOPs, bytes for backward, peak, file times
    python benchmarks/adapters.py --steps 5          # also step times, interleaved
    python benchmarks/adapters.py --libraries drop-in,lycoris-lora --algorithms loha,lokr --steps 5 --cpu-time
    python benchmarks/adapters.py --device cuda --dtype bfloat16 --batch 8 --steps 20

Each library runs in its own process. The timed steps are interleaved, so that other load of the machine affects all
alike. FLOPs are those of one training step, attention included; bytes are those of the tensors saved for backward
beyond the model's own weights; the peak is that of allocated memory with the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "peers")]

from setup import interpreter  # noqa: E402

ALGORITHMS = {
    "lora": {"rank": 8, "alpha": 4.0},
    "loha": {"rank": 4, "alpha": 2.0},
    "lokr": {"factor": 8},
}
LIBRARIES = ("ours", "lycoris-lora", "peft")
OWN = ("ours", "drop-in")
"""Libraries in this environment; `drop-in` is not measured by default."""


class Worker:
    """A process of `peers/measure.py` in a library's environment."""

    def __init__(self, library: str, model: dict, fake: bool = False):
        environment = {**os.environ, "PYTHONPATH": str(ROOT) if library in OWN else ""}
        python = sys.executable if library in OWN else str(interpreter(library))
        script = ROOT / "benchmarks" / "peers" / "measure.py"
        self.process = subprocess.Popen(
            [python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.library = library
        self("build", **model, fake=fake)

    def __call__(self, command: str, **arguments: object) -> dict | float:
        print(json.dumps([command, arguments]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"The process of {self.library} ended with {self.process.wait()} in `{command}`.")
        return json.loads(answer)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()


def preset_layers(preset: str, width: int) -> list[str]:
    """Paths that a preset selects in the UNet."""
    import torch
    from diffusers import UNet2DConditionModel

    import lycoris

    widths = (width, 2 * width, 4 * width, 4 * width)
    with torch.device("meta"):
        unet = UNet2DConditionModel(block_out_channels=widths, cross_attention_dim=768, attention_head_dim=8)
    network = lycoris.attach({"unet": unet}, "lora", preset=preset, rank=1)
    return [place.path for place in network.layers.values()]


def measure(algorithm: str, layers: list[str], model: dict, libraries: list[str], steps: int) -> dict[str, dict]:
    """Measurements by library; ``"frozen"`` is the model without adapters."""
    measured: dict[str, dict] = {}
    for library in libraries:
        attach = {"library": library, "algorithm": algorithm, "layers": layers, "options": ALGORITHMS[algorithm]}
        with Worker(library, model | {"device": "cpu"}, fake=True) as worker:
            if library == "ours":
                measured["frozen"] = worker("count")
            worker("attach", **attach)
            measured[library] = worker("count")
        with Worker(library, model) as worker:
            measured[library] |= {**worker("attach", **attach), **worker("files")}
            measured[library] |= worker("peak") if model["device"] == "cuda" else {}
    if steps:
        times = time_steps(algorithm, layers, model, libraries, steps)
        for name, values in times.items():
            measured[name] |= {"step_s": statistics.median(values), "steps_s": values}
    return measured


def time_steps(
    algorithm: str, layers: list[str], model: dict, libraries: list[str], steps: int
) -> dict[str, list[float]]:
    """Interleaved step times of each library and of the frozen model, after one warm-up round."""
    workers = [Worker(library, model) for library in libraries]
    try:
        for worker in workers:
            options = ALGORITHMS[algorithm]
            worker("attach", library=worker.library, algorithm=algorithm, layers=layers, options=options)
        times: dict[str, list[float]] = {"frozen": [], **{library: [] for library in libraries}}
        for turn in range(steps + 1):
            for worker in workers:
                if worker.library == "ours":
                    times["frozen"].append(worker("seconds", frozen=True))
                times[worker.library].append(worker("seconds"))
                if turn == 0:
                    times["frozen"].clear()
                    times[worker.library].clear()
        return times
    finally:
        for worker in workers:
            worker.__exit__()


def format_table(algorithm: str, measured: dict[str, dict]) -> str:
    """One row per library."""
    frozen = measured["frozen"]
    head = f"{algorithm:14s}{'FLOPs':>8s}{'saved MB':>10s}{'peak MB':>10s}{'step s':>9s}{'step':>7s}"
    rows = [head + f"{'attach s':>10s}{'save s':>8s}{'load s':>8s}{'file MB':>9s}"]
    for name, values in measured.items():
        row = f"{name:14s}{values['flops'] / frozen['flops']:8.3f}{values['saved_bytes'] / 1e6:10.0f}"
        row += f"{values['peak_bytes'] / 1e6:10.0f}"
        row += f"{values['step_s']:9.3f}{values['step_s'] / frozen['step_s']:7.2f}" if "step_s" in values else " " * 16
        if "attach_s" in values:
            row += f"{values['attach_s']:10.2f}{values['save_s']:8.3f}{values['load_s']:8.3f}"
            row += f"{values['file_bytes'] / 1e6:9.1f}"
        rows.append(row)
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="attn-mlp", help="which layers are adapted")
    parser.add_argument("--algorithms", default=",".join(ALGORITHMS), help="comma-separated, of %(default)s")
    parser.add_argument(
        "--libraries", default=",".join(LIBRARIES), help="comma-separated, of %(default)s; always with ours"
    )
    parser.add_argument("--steps", type=int, default=0, help="number of timed steps of each; 0 for none")
    parser.add_argument("--latent", type=int, default=64, help="side of the latents")
    parser.add_argument("--width", type=int, default=320, help="channels of the first block; SD-1.5 has 320")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", help="dtype of the frozen weights and the activations")
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds, for a busy machine")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    arguments = parser.parse_args()
    names = ("width", "latent", "batch", "device", "dtype", "threads", "cpu_time")
    model = {name: getattr(arguments, name) for name in names}
    libraries = ["ours", *(name for name in arguments.libraries.split(",") if name != "ours")]
    missing = [name for name in libraries if name not in OWN and not interpreter(name).exists()]
    if missing:
        raise SystemExit(f"No environment of {' and '.join(missing)}: run benchmarks/peers/setup.py first.")
    layers = preset_layers(arguments.preset, arguments.width)
    result = {"machine": platform.processor() or platform.machine(), "preset": arguments.preset, **model, "found": {}}
    for algorithm in arguments.algorithms.split(","):
        result["found"][algorithm] = measure(algorithm, layers, model, libraries, arguments.steps)
        if not arguments.json:
            print(format_table(algorithm, result["found"][algorithm]), end="\n\n", flush=True)
    if arguments.json:
        print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
