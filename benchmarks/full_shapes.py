"""Count training steps of full-size denoisers from configurations: ours beside `peft` and `lycoris-lora`.

    python benchmarks/peers/setup.py              # once: the peers' environments
    python benchmarks/full_shapes.py              # all models: minutes of one core, no weights
    python benchmarks/full_shapes.py --models flux-2-klein-4b --algorithms lora --libraries ours

For each model: its number of parameters beside the published one, the layers that each preset adapts, and for LoRA of
rank 16, LoHa of rank 4 and LoKr of factor 8 on attn-mlp the FLOPs of forward and backward over those of the frozen
model, and the bytes kept between the two. `share` is the part of the frozen model's FLOPs that the adapted layers take:
LoKr of factor f adds at least 3 / (2 f) of it, three products with its inner factor to a layer's own two. One image of
1024 pixels, bfloat16 under autocast, on fake tensors: exact counts of the operations that run on a CPU, the same on
every machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks" / "peers"
sys.path[:0] = [str(ROOT), str(PEERS)]

from setup import interpreter  # noqa: E402

ALGORITHMS = {
    "lora": {"rank": 16, "alpha": 16.0},
    "loha": {"rank": 4, "alpha": 4.0},
    "lokr": {"factor": 8},
}
BARS = {"lora": 1.02, "loha": 1.03, "lokr": 1.08}
"""FLOPs over those of the frozen model that ours are held to."""
LIBRARIES = ("ours", "peft", "lycoris-lora")
PRESETS = ("attn-only", "attn-mlp", "full")
MODELS = json.loads((PEERS / "full_shapes.json").read_text())


class Worker:
    """A process of `peers/shapes.py` in a library's environment, with one model."""

    def __init__(self, library: str, model: str) -> None:
        python = sys.executable if library == "ours" else str(interpreter(library))
        environment = {**os.environ, "PYTHONPATH": str(ROOT) if library == "ours" else ""}
        self._process = subprocess.Popen(
            [python, PEERS / "shapes.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.description = self("build", name=model)

    def __call__(self, command: str, **arguments: object) -> dict:
        print(json.dumps([command, arguments]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"The process ended with {self._process.wait()} in `{command}`.")
        return json.loads(answer)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def measure_model(model: str, algorithms: list[str], libraries: list[str]) -> dict:
    """Counts of one model: parameters, layers by preset, and by algorithm and library FLOPs and kept bytes."""
    ours = Worker("ours", model)
    layers = {preset: ours("layers", preset=preset)["layers"] for preset in PRESETS}
    result = {
        "parameters": ours.description["parameters"],
        "stored": ours.description["stored"],
        "layers": {preset: len(paths) for preset, paths in layers.items()},
        "frozen": ours("count"),
        "adapted_flops": ours("linear_flops", layers=layers["attn-mlp"])["flops"],
        "counts": {},
    }
    for algorithm in algorithms:
        attach = {"algorithm": algorithm, "layers": layers["attn-mlp"], "options": ALGORITHMS[algorithm]}
        counts = result["counts"][algorithm] = {}
        for library in libraries:
            worker = ours if library == "ours" else Worker(library, model)
            attached = worker("attach", library=library, **attach)
            counts[library] = attached if "error" in attached else worker("count")
            if library != "ours":
                worker.close()
    ours.close()
    return result


def format_model(model: str, result: dict) -> str:
    """One model as lines of a table."""
    published = MODELS[model]["published"]
    expected = published["bytes"] / published["bytes_per_parameter"]
    frozen = result["frozen"]
    share = result["adapted_flops"] / frozen["flops"]
    rows = [
        f"{model}: {result['parameters'] / 1e9:.4f} billion parameters; stored {result['stored'] / 1e9:.4f}, published "
        f"{expected / 1e9:.4f} ({result['stored'] / expected - 1:+.3%}, {published['source']})",
        f"  layers: {', '.join(f'{preset} {count}' for preset, count in result['layers'].items())}",
        f"  frozen step: {frozen['flops'] / 1e12:.2f} TFLOP, keeps {frozen['kept_bytes'] / 1e9:.3f} GB; share of "
        f"adapted layers {share:.3f}, so LoKr at least {1 + 1.5 / ALGORITHMS['lokr']['factor'] * share:.4f}",
    ]
    for algorithm, counts in result["counts"].items():
        for library, values in counts.items():
            if "error" in values:
                rows.append(f"  {algorithm:5s} {library:13s} {values['error']}")
                continue
            ratio, kept = values["flops"] / frozen["flops"], values["kept_bytes"] / 1e9
            note = f"   above {BARS[algorithm]}" if library == "ours" and ratio > BARS[algorithm] else ""
            rows.append(f"  {algorithm:5s} {library:13s} FLOPs / frozen {ratio:.4f}   keeps {kept:7.3f} GB{note}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help="comma-separated, of %(default)s")
    parser.add_argument("--algorithms", default=",".join(ALGORITHMS), help="comma-separated, of %(default)s")
    parser.add_argument("--libraries", default=",".join(LIBRARIES), help="comma-separated, of %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    libraries = arguments.libraries.split(",")
    missing = [name for name in libraries if name != "ours" and not interpreter(name).exists()]
    if missing:
        raise SystemExit(f"No environment of {' and '.join(missing)}: run benchmarks/peers/setup.py first.")
    results = {}
    for model in arguments.models.split(","):
        results[model] = measure_model(model, arguments.algorithms.split(","), libraries)
        if not arguments.json:
            print(format_model(model, results[model]), end="\n\n", flush=True)
    if arguments.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
