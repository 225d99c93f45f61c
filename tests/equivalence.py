"""Compare the results of one experiment from two revisions: adapters bit by bit, scores digit by digit, `data.dvc`.

    python tests/equivalence.py OLD NEW                  two finished output folders
    python tests/equivalence.py OLD NEW --details        and every difference, one a line

Only results count: cache keys, run IDs, times and header fields about the code may differ. The script imports nothing
of the project, so that it reads the output of any revision. Exit code 1: something differs or is missing.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import safe_open

TIMING_DIMENSION = "efficiency"
"""Dimension of the scores that are measured times and sizes."""
VOLATILE_COLUMNS = {"run_id", "note"}
"""Columns that are not compared: an ID of the run, and prose that says why a score is undefined."""
IDENTITY_COLUMNS = ("concept", "config", "algorithm", "rank", "alpha", "captions", "seed", "steps", "epoch", "name")


@dataclass
class Comparison:
    """How many items of one kind two folders share, and what differs."""

    kind: str
    unit: str
    compared: int = 0
    differences: list[str] = field(default_factory=list)

    def check(self, name: str, old: object, new: object) -> None:
        """Count one item, and note it where the two values are not the same."""
        self.compared += 1
        if old != new:
            self.differences.append(f"{name}: {_shorten(old)} before, {_shorten(new)} after")


def _shorten(value: object, length: int = 60) -> str:
    text = "missing" if value is None else str(value)
    return text if len(text) <= length else f"{text[:length]}..."


def compare(old: Path, new: Path, old_pointer: Path, new_pointer: Path) -> list[Comparison]:
    """Compare two output folders and two data pointers.

    Args:
        old: output folder of a finished experiment or study.
        new: the same of another revision.
        old_pointer: `data.dvc` that the old run read.
        new_pointer: `data.dvc` that the new run read.

    Returns:
        One comparison for each kind of result: adapters, tensors, images, score tables, scores, data version.
    """
    return [
        *_compare_adapters(_adapter_files(old), _adapter_files(new)),
        _compare_images(_image_digests(old), _image_digests(new)),
        *_compare_scores(_score_rows(old), _score_rows(new)),
        _compare_pointers(old_pointer, new_pointer),
    ]


def _adapter_files(runs: Path) -> dict[str, Path]:
    """Exported adapters by study folder and file name."""
    return {str(path.relative_to(runs)): path for path in sorted(runs.glob("*/adapters/*.safetensors"))}


def _compare_adapters(old: dict[str, Path], new: dict[str, Path]) -> tuple[Comparison, Comparison]:
    files, tensors = Comparison("adapters", "file"), Comparison("adapters", "tensor")
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            files.check(name, _presence(name in old), _presence(name in new))
            continue
        before, after = _tensor_digests(old[name]), _tensor_digests(new[name])
        files.check(name, sorted(before.items()), sorted(after.items()))
        for key in sorted(before.keys() | after.keys()):
            tensors.check(f"{name} {key}", before.get(key), after.get(key))
    return files, tensors


def _presence(present: bool) -> str | None:
    return "present" if present else None


def _tensor_digests(path: Path) -> dict[str, str]:
    """Type, shape and SHA-256 of the bytes of every tensor of a file."""
    with safe_open(path, "pt") as file:
        return {key: _tensor_digest(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118


def _tensor_digest(tensor) -> str:
    import torch

    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(content).hexdigest()}"


def _image_digests(runs: Path) -> dict[str, str]:
    """SHA-256 of every generated image, by prompt, seed and the tensors of the adapter that generated it.

    The cache stores images under keys that hash the code, so the adapter's own tensors identify it here.
    """
    digests: dict[str, str] = {}
    adapters = {path.parent.name: path for path in sorted(runs.glob("store/*/*/adapter.safetensors"))}
    for path in sorted(runs.glob("store/*/*/prompts.json")):
        adapter = json.loads((path.parent / "stage.json").read_text())["inputs"]["adapter"]
        owner = "base" if adapter is None else _identity(adapters.get(adapter))
        for kind, prompts in json.loads(path.read_text()).items():
            for number, prompt in enumerate(prompts):
                content = (path.parent / kind / f"{number:03d}.png").read_bytes()
                key = f"{owner} {kind} {prompt['text']} (seed {prompt['seed']})"
                digests[key] = hashlib.sha256(content).hexdigest()
    return digests


def _identity(path: Path | None) -> str:
    """What an adapter was trained as, from its header."""
    if path is None:
        return "unknown adapter"
    with safe_open(path, "pt") as file:
        header = file.metadata()
    return "-".join(header[key] for key in ("concept", "lycoris.algorithm", "captions", "seed", "step"))


def _compare_images(old: dict[str, str], new: dict[str, str]) -> Comparison:
    images = Comparison("generated images", "file")
    for key in sorted(old.keys() | new.keys()):
        images.check(key, old.get(key), new.get(key))
    return images


def _score_rows(runs: Path) -> dict[str, dict[str, dict[str, str]]]:
    """By study folder the rows of its `scores.csv`, by what they are about."""
    return {path.parent.name: dict(_rows(path)) for path in sorted(runs.glob("*/scores.csv"))}


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["dimension"] == TIMING_DIMENSION:
                continue
            key = " ".join(row[name] for name in IDENTITY_COLUMNS if row.get(name))
            yield key, {name: value for name, value in row.items() if name not in VOLATILE_COLUMNS}


def _compare_scores(
    old: dict[str, dict[str, dict[str, str]]], new: dict[str, dict[str, dict[str, str]]]
) -> tuple[Comparison, Comparison]:
    rows, cells = Comparison("scores.csv", "row"), Comparison("scores.csv", "cell")
    for study in sorted(old.keys() | new.keys()):
        before, after = old.get(study, {}), new.get(study, {})
        for key in sorted(before.keys() | after.keys()):
            one, other = before.get(key), after.get(key)
            rows.check(f"{study} {key}", one, other)
            if one is not None and other is not None:
                for column in dict.fromkeys([*one, *other]):
                    cells.check(f"{study} {key} {column}", one.get(column), other.get(column))
    return rows, cells


def _compare_pointers(old: Path, new: Path) -> Comparison:
    pointer = Comparison("data.dvc", "file")
    pointer.check("data.dvc", *(path.read_text() if path.is_file() else None for path in (old, new)))
    return pointer


def format_table(comparisons: list[Comparison]) -> str:
    """The comparisons as a Markdown table."""
    lines = ["| result | compared | equal | different |", "|---|---|---|---|"]
    for each in comparisons:
        different = len(each.differences)
        lines.append(f"| {each.kind}, by {each.unit} | {each.compared} | {each.compared - different} | {different} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Print the table; 1 where anything differs or a kind of result is missing from both folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="output folder of the earlier revision")
    parser.add_argument("new", type=Path, help="output folder of the later revision")
    parser.add_argument("--old-data", type=Path, default=Path("data.dvc"), help="the earlier `data.dvc`")
    parser.add_argument("--new-data", type=Path, default=Path("data.dvc"), help="the later `data.dvc`")
    parser.add_argument("--details", action="store_true", help="list every difference")
    options = parser.parse_args(argv)
    comparisons = compare(options.old, options.new, options.old_data, options.new_data)
    print(format_table(comparisons))
    for each in comparisons:
        for line in each.differences[: None if options.details else 3]:
            print(f"{each.kind}, {each.unit}: {line}")
    empty = [each.kind for each in comparisons if not each.compared]
    if empty:
        print(f"nothing to compare: {', '.join(dict.fromkeys(empty))}")
    return int(bool(empty) or any(each.differences for each in comparisons))


if __name__ == "__main__":
    sys.exit(main())
