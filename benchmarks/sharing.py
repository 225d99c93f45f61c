"""Compare k runs as one study with the same k runs separately, each in its own output folder.

    python benchmarks/sharing.py                      # k = 4: LoRA, LoHa, LoKr and native on one concept
    python benchmarks/sharing.py --steps 30 --rounds 3

Each variant is the command that a user would type, with two worker processes, including its start and its report; the
variants alternate. A study starts one server, opens the base once per process, captions once, and generates and scores
the base's images once; the answer that it adds is timed separately. CPU time is reported next to wall-clock time, since
other work on the machine affects it less.
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
    """Options that all runs share."""
    settings = {
        "concepts": "grumble",
        "captions": "none",
        "workers": 2,
        "output": output,
    }
    if steps is not None:
        settings["steps"] = steps
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


def time_command(*arguments: str) -> np.ndarray:
    """Wall-clock and CPU seconds of a `lycoris` command, over all its processes.

    Raises:
        RuntimeError: the command failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    started = np.array([time.monotonic(), cpu_seconds()])
    result = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        raise RuntimeError(f"lycoris {' '.join(arguments)} failed:\n{result.stderr[-2000:]}")
    took = np.array([time.monotonic(), cpu_seconds()]) - started
    print(f"lycoris {' '.join(arguments[:3])} ...: {took[0]:.0f} s, CPU {took[1]:.0f} s", file=sys.stderr)
    return took


def cpu_seconds() -> float:
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_round(steps: int | None, folder: Path) -> dict[str, np.ndarray]:
    """Run each variant once: separate runs, the same as one study, and the study again when everything is cached."""
    separate = sum(
        time_command("run", "--set", f"algorithms={name}", *options(steps, folder / name)) for name in ALGORITHMS
    )
    every = f"algorithms={','.join(ALGORITHMS)}"
    together = time_command("run", "--set", every, "--set", "name=study", *options(steps, folder / "together"))
    study = folder / "study.yaml"
    study.write_text(
        "question: Which algorithm?\nfactors: [algorithm]\nreports: [findings]\nexperiment: {name: study}\n"
    )
    return {
        "separate": separate,
        "together": together,
        "cached": time_command("study", str(study), "--set", every, *options(steps, folder / "together")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="training steps; default: 120")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    rounds = []
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(run_round(arguments.steps, Path(folder)))
        seconds = {name: each.round(1).tolist() for name, each in rounds[-1].items()}
        print(json.dumps({"round": number, "load": os.getloadavg()[0], **seconds}), file=sys.stderr, flush=True)
    for column, kind in enumerate(("wall-clock", "CPU")):
        medians = {name: statistics.median(seconds[name][column] for seconds in rounds) for name in rounds[0]}
        ratio = statistics.median(seconds["together"][column] / seconds["separate"][column] for seconds in rounds)
        print(
            f"{kind}: {len(ALGORITHMS)} separate runs {medians['separate']:.0f} s, "
            f"as one study {medians['together']:.0f} s, {ratio:.2f} times; "
            f"the study again with everything cached, including its answer, {medians['cached']:.0f} s"
        )


if __name__ == "__main__":
    main()
