"""Measure a GPU: `python -m benchmarks.gpu --out gpu` writes `gpu.json` and `gpu.md` in under nine minutes.

    python -m benchmarks.gpu --smoke                                   # tiny models, on a CPU as well
    python -m benchmarks.gpu --lycoris-lora site --out gpu             # a folder into which its wheel was unpacked

Each section runs in a process of its own and may fail or run out of time; the table then says so, and has what was
measured before. Step times are those of `benchmarks/gpu/step_times.py`; the
other sections use the embedded base; the last one runs the whole pipeline on it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lycoris.terms import PROMPT_TYPES

ROOT = Path(__file__).resolve().parents[2]
TOTAL_S, SECTION_S = 530.0, 100.0
MODELS = ("sd15", "sdxl", "flux-blocks")
OTHERS = ("packages", "generation", "half precision", "optimizers", "quantized bases", "resume")


def commands(peers: Path | None, small: bool) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Sections by name, in order: their commands and the variables of their environments."""
    own = {"PYTHONPATH": str(ROOT)}
    libraries = {"ours": own, "peft": own, **({} if peers is None else {"lycoris-lora": {"PYTHONPATH": str(peers)}})}
    script = [sys.executable, str(ROOT / "benchmarks" / "gpu" / "step_times.py")]
    size = ["--small", "--steps", "1"] if small else []
    sections = {OTHERS[0]: ([sys.executable, "-m", "benchmarks.gpu", "--section", OTHERS[0]], own)}
    for model in MODELS:
        for library, environment in libraries.items():
            sections[f"{model} {library}"] = ([*script, "--model", model, "--library", library, *size], environment)
    for name in OTHERS[1:]:
        sections[name] = ([sys.executable, "-m", "benchmarks.gpu", "--section", name], own)
    options = ["algorithms=lora", "concepts=grumble", "captions=all", "steps=60", "output=OUTPUT"]
    if small:
        options += [
            "steps=2",
            "sampling.steps=2",
            *(f"images.{kind}=1" for kind in PROMPT_TYPES),
        ]
    settings = [word for option in options for word in ("--set", option)]
    sections["pipeline"] = ([sys.executable, "-m", "flows.cli", "run", *settings, "--json"], own)
    for model in ("flux-blocks", "sd15"):
        compiled = [*script, "--model", model, "--compile", *size]
        sections[f"{model} compiled"] = (compiled, own)
    return sections


def run_section(command: Sequence[str], environment: dict[str, str], seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the rows that a section prints; the last one is an error if it failed or ran out of time."""
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "errors"), "w+") as errors:
        words = [word.replace("OUTPUT", str(Path(folder, "runs"))) for word in command]
        process = subprocess.Popen(
            words, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            output, _ = process.communicate(timeout=max(seconds, 1.0))
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        for line in output.splitlines():
            if line.startswith("{"):
                yield json.loads(line)
        if process.returncode:
            errors.seek(0)
            lines = errors.read().strip().splitlines()
            reason = f"ended after {seconds:.0f} s" if process.returncode == -9 else (lines or ["no message"])[-1]
            yield {"error": reason[:300]}


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of rows with any columns; rows of other columns start another table."""
    parts: list[str] = []
    columns: list[str] = []
    for row in rows:
        if list(row) != columns:
            columns = list(row)
            parts += ["", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()]
        parts.append("| " + " | ".join(cells) + " |")
    return "\n".join(parts)


def headline(row: dict[str, Any]) -> dict[str, Any]:
    """Of the result of a pipeline run, the number of adapters and the seconds; of other rows, all."""
    return row if "adapters" not in row else {"adapters": len(row["adapters"]), "seconds": row["seconds"]}


def main() -> int:
    """Run the sections; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny models and runs, to try the script")
    parser.add_argument("--lycoris-lora", type=Path, help="folder with the unpacked wheel of lycoris-lora")
    parser.add_argument("--sections", help="comma-separated beginnings of names; all by default")
    parser.add_argument("--seconds", type=float, default=TOTAL_S, help="time for everything")
    parser.add_argument("--out", type=Path, help="path without ending of the JSON file and the table")
    parser.add_argument("--section", choices=OTHERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.section:
        from benchmarks.gpu.sections import SECTIONS

        for row in SECTIONS[arguments.section]():
            print(json.dumps(row), flush=True)
        return 0
    started, results = time.monotonic(), {}
    wanted = None if arguments.sections is None else tuple(arguments.sections.split(","))
    for name, (command, environment) in commands(arguments.lycoris_lora, arguments.smoke).items():
        if wanted is not None and not name.startswith(wanted):
            continue
        left = arguments.seconds - (time.monotonic() - started)
        begun = time.monotonic()
        rows = [{"error": "no time was left"}] if left < 5 else []
        for row in run_section(command, environment, min(left, SECTION_S)) if not rows else ():
            rows.append(headline(row))
        results[name] = rows
        print(f"\n## {name} ({time.monotonic() - begun:.0f} s)\n{format_table(rows)}", flush=True)
        if arguments.out is not None:
            text = "\n".join(f"## {name}\n{format_table(rows)}\n" for name, rows in results.items())
            arguments.out.with_suffix(".json").write_text(json.dumps(results, indent=1))
            arguments.out.with_suffix(".md").write_text(text)
    return int(any("error" in row for rows in results.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
