"""The table in docs/adapters.md of what is certified by which test, made from the cases that the tests run over.

python -m tests.adapters.certificate
"""

from __future__ import annotations

import inspect
from pathlib import Path

from tests.adapters import test_algorithms
from tests.adapters.cases import LAYERS, cases

DOCUMENT = Path(__file__).parents[2] / "docs" / "adapters.md"
BEGIN, END = "<!-- certified: begin -->", "<!-- certified: end -->"


def certified_tests() -> dict[str, bool]:
    """The tests that run over every combination, in their order, and whether norm layers are among them."""
    found = {}
    for name, function in vars(test_algorithms).items():
        marks = getattr(function, "pytestmark", []) if inspect.isfunction(function) else []
        for mark in marks:
            if mark.name == "parametrize" and mark.args[0] == ("algorithm", "options", "name"):
                found[name] = len(mark.args[1]) == len(cases())
    return found


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


def updated_document(text: str) -> str:
    """The document with the table as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{coverage_table()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(updated_document(DOCUMENT.read_text()))
