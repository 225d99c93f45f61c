"""k runs as one study, beside the same k runs each by itself in an output folder of its own.

    python benchmarks/sharing.py                      # k = 4: LoRA, LoHa, LoKr and native on one concept
    python benchmarks/sharing.py --steps 30 --turns 3

Each way is the command that a user would type, with two worker processes, its start and its report included; the ways
take turns. A study starts one server, opens the base once a process, captions once, and the base draws and is looked
at once for all; the answer that it adds is timed apart. Beside the time by the clock stands that of all processors,
which other work on the machine moves less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ALGORITHMS = ("lora", "loha", "lokr", "full")


def options(steps: int | None, output: Path) -> list[str]:
    """What all runs have in common."""
    chosen = {
        "concepts": "grumble",
        "captions": "none",
        "workers": 2,
        "output": output,
    }
    if steps is not None:
        chosen["steps"] = steps
    return [part for name, value in chosen.items() for part in ("--set", f"{name}={value}")]


def time_command(*arguments: str) -> np.ndarray:
    """Seconds that a `lycoris` command takes: by the clock, and of processors, all its processes together.

    Raises:
        RuntimeError: it failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    began = np.array([time.monotonic(), cpu_seconds()])
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"lycoris {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    took = np.array([time.monotonic(), cpu_seconds()]) - began
    print(f"lycoris {' '.join(arguments[:3])} ...: {took[0]:.0f} s, of processors {took[1]:.0f} s", file=sys.stderr)
    return took


def cpu_seconds() -> float:
    """Processor seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_round(steps: int | None, folder: Path) -> dict[str, np.ndarray]:
    """Each way once: seconds of the runs apart, of the same as one study, and of a study taken up when it is done."""
    apart = sum(
        time_command("run", "--set", f"algorithms={name}", *options(steps, folder / name)) for name in ALGORITHMS
    )
    every = f"algorithms={','.join(ALGORITHMS)}"
    together = time_command("run", "--set", every, "--set", "name=study", *options(steps, folder / "together"))
    study = folder / "study.yaml"
    study.write_text("question: Which algorithm?\nfactors: [algorithm]\ntell: [findings]\nexperiment: {name: study}\n")
    return {
        "apart": apart,
        "together": together,
        "again": time_command("study", str(study), "--set", every, *options(steps, folder / "together")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="of training; default: the recipe's 120")
    parser.add_argument("--turns", type=int, default=1)
    arguments = parser.parse_args()
    found = []
    for number in range(arguments.turns):
        with tempfile.TemporaryDirectory() as folder:
            found.append(run_round(arguments.steps, Path(folder)))
        said = {name: each.round(1).tolist() for name, each in found[-1].items()}
        print(json.dumps({"turn": number, "load": os.getloadavg()[0], **said}), file=sys.stderr, flush=True)
    for place, kind in enumerate(("by the clock", "of processors")):
        middle = {name: statistics.median(one[name][place] for one in found) for name in found[0]}
        ratio = statistics.median(one["together"][place] / one["apart"][place] for one in found)
        print(
            f"{kind}: {len(ALGORITHMS)} runs apart {middle['apart']:.0f} s, as one study {middle['together']:.0f} s, "
            f"{ratio:.2f} times; the study taken up when all is there, with its answer, {middle['again']:.0f} s"
        )


if __name__ == "__main__":
    main()
