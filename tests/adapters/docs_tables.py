"""The generated tables in docs/adapters.md: algorithms, dialects and formats of files, and what the tests cover.

python -m tests.adapters.docs_tables
"""

from __future__ import annotations

import inspect
import re
from functools import cache
from pathlib import Path
from typing import get_args, get_type_hints

from lycoris.adapters import ALGORITHMS, Algorithm
from lycoris.adapters.files.dialects import DIALECTS
from lycoris.adapters.files.families import FAMILIES
from lycoris.adapters.peft_methods.methods import METHODS
from tests.adapters import test_algorithms
from tests.adapters.cases import LAYERS, cases
from tests.adapters.dialect_cases import CELLS
from tests.adapters.layer_states import QUANTISED, STATES
from tests.adapters.small_denoisers import DENOISERS
from tests.adapters.test_formats_by_family import ALGORITHMS as WRITTEN
from tests.adapters.test_formats_by_family import FORMATS, FUSED, is_refused

DOCUMENT = Path(__file__).parents[2] / "docs" / "adapters.md"


def algorithm_table() -> str:
    """Algorithms with formula, options and source, as Markdown."""
    lines = ["| name | weight update | options (default) | PEFT | `extract` | source |", "|---|---|---|---|---|---|"]
    for name, algorithm in ALGORITHMS.items():
        aliases = ", ".join(f"`{alias}`" for alias in algorithm.aliases)
        names = f"`{name}`, also {aliases}" if aliases else f"`{name}`"
        extractable = "yes" if algorithm.fit_delta is not Algorithm.fit_delta else ""
        source = re.sub(r"(.*), arXiv ([\d.]+)", r"[\1](https://arxiv.org/abs/\2)", algorithm.citation or "")
        cells = [names, algorithm.formula, option_list(algorithm), algorithm.peft_type or "", extractable, source]
        lines.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join(lines)


def option_list(algorithm: type[Algorithm]) -> str:
    """Options of an algorithm's constructor with their defaults, as Markdown."""
    options, annotations = [], get_type_hints(algorithm.__init__)
    for parameter in list(inspect.signature(algorithm).parameters.values())[1:]:
        default = algorithm.default_rank if parameter.name == "rank" else parameter.default
        choices = get_args(annotations[parameter.name]) if isinstance(default, str) else ()
        text = ", ".join(f'`"{choice}"`' for choice in choices) or str(default).lower()
        options.append(f"`{parameter.name}`" + ("" if default is None or default is False else f" ({text})"))
    return ", ".join(options)


def certified_tests() -> dict[str, bool]:
    """Tests that run over every combination, in their order, and whether they cover norm layers."""
    tests = {}
    for name, function in vars(test_algorithms).items():
        marks = getattr(function, "pytestmark", []) if inspect.isfunction(function) else []
        for mark in marks:
            if mark.name == "parametrize" and mark.args[0] == ("algorithm", "options", "name"):
                tests[name] = len(mark.args[1]) == len(cases())
    return tests


@cache
def coverage_table() -> str:
    """Tests and combinations, as Markdown."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for case in cases():
        algorithm, _, layer = case.values
        option = case.id.removeprefix(f"{algorithm}-").removesuffix(f"-{layer}")
        slow = any(mark.name == "slow" for mark in case.marks)
        rows.setdefault((algorithm, option), {})[layer] = "○" if slow else "●"
    lines = ["Each of these tests of `tests/adapters/test_algorithms.py` runs on every combination marked below:", ""]
    lines += [f"- `{name}`" + ("" if norms else ", `norms` aside") for name, norms in certified_tests().items()]
    lines += [
        "",
        "● in every run, ○ with those marked slow, · nothing to adapt or a rank that the layer does not allow.",
        "",
    ]
    lines += [f"| algorithm | options | {' | '.join(LAYERS)} |", f"|---|---|{'---|' * len(LAYERS)}"]
    for (algorithm, option), cells in rows.items():
        lines.append(f"| `{algorithm}` | {option} | {' | '.join(cells.get(layer, '·') for layer in LAYERS)} |")
    return "\n".join(lines)


def dialect_table() -> str:
    """Dialects, who writes them and an example, as Markdown."""
    lines = ["| dialect | written by | example |", "|---|---|---|"]
    lines += [f"| `{name}` | {each.written_by} | `{each.example}` |" for name, each in DIALECTS.items()]
    return "\n".join(lines)


def file_table() -> str:
    """Family, algorithm and dialect: what is read, and what is written and read back, as Markdown."""
    cells = {(cell.family, cell.algorithm, cell.dialect) for cell in CELLS}
    columns = [*FORMATS, *(name for name in DIALECTS if name not in FORMATS)]
    lines = [f"| family | `modelspec.architecture` | q, k, v fused | algorithm | {' | '.join(columns)} |"]
    lines.append("|---|---|---|---|" + "---|" * len(columns))
    for family in dict.fromkeys([*DENOISERS, *(family for family, _, _ in sorted(cells))]):
        for algorithm in WRITTEN:
            row = []
            for column in columns:
                is_written = column in FORMATS and is_refused(column, family, algorithm) is None
                row.append("rw" if is_written else "r" if (family, algorithm, column) in cells else "·")
            first = algorithm == WRITTEN[0]
            names = [family, f"`{FAMILIES[family].architecture}/lora`", "yes" if family in FUSED else ""]
            lines.append(f"| {' | '.join([*(names if first else ['', '', '']), algorithm, *row])} |".replace("  ", " "))
    return "\n".join(lines)


def diffusers_table() -> str:
    """Family and format: which LoRAs diffusers' own loader opens, as Markdown."""
    formats = ("lycoris", "kohya", "comfyui")
    lines = [f"| family | diffusers | {' | '.join(formats)} |", "|---|---|" + "---|" * len(formats)]
    for name in DENOISERS:
        family, row = FAMILIES[name], []
        for format in formats:
            whole = "whole blocks" if format in family.diffusers_reads_blocks else "no"
            row.append("yes" if format in family.diffusers_reads else whole)
            row[-1] = "·" if is_refused(format, name, "lora") else row[-1]
        lines.append(f"| {name} | yes | {' | '.join(row)} |")
    return "\n".join(lines)


def state_table() -> str:
    """States of layers and what a network does in each, as Markdown."""
    lines = ["| state | by | algorithms | `merge` |", "|---|---|---|---|"]
    lines += [f"| {name} | {s.by} | all | {'exact' if s.merges else 'error'} |" for name, s in STATES.items()]
    lines.append("| compiled | `torch.compile` of the model or of a block | all | exact |")
    lines += [f"| {name} | {package} | those that do not read W | error |" for name, (package, _) in QUANTISED.items()]
    return "\n".join(lines)


def peft_table() -> str:
    """Methods of PEFT with the layers that each adapts here, or why it does not work, as Markdown."""
    lines = ["| method | layers | size by | differs from PEFT's defaults | note |", "|---|---|---|---|---|"]
    for name, method in METHODS.items():
        changed = ", ".join(f"`{option}={value}`" for option, value in method.options.items())
        size = f"`{method.size_option}`" if method.layers and method.size_option else ""
        layers = ", ".join(method.layers) or "does not work"
        lines.append(f"| `peft:{name}` | {layers} | {size} | {changed} | {method.note} |".replace("  ", " "))
    return "\n".join(lines)


TABLES = {
    "states": state_table,
    "algorithms": algorithm_table,
    "peft": peft_table,
    "dialects": dialect_table,
    "files": file_table,
    "diffusers": diffusers_table,
    "certified": coverage_table,
}
"""Name of a block in the document → function that generates it."""


def updated_document(text: str) -> str:
    """The document with its tables generated anew."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n{table()}\n{end}{after}"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(updated_document(DOCUMENT.read_text()))
