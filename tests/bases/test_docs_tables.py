"""The table of families in docs/bases.md; ``python -m tests.bases.test_docs_tables`` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path

from lycoris.bases import BASES, FlowMatching

DOCUMENT = Path(__file__).parents[2] / "docs" / "bases.md"
BLOCK = re.compile(r"(?<=<!-- families: begin -->\n).*(?=<!-- families: end -->)", re.DOTALL)


def family_table() -> str:
    """Families with their parts and what they predict, as Markdown."""
    lines = [
        "| family | models | adaptable parts | predicts | learning rate, steps of a public recipe for LoRA |",
        "|---|---|---|---|---|",
    ]
    for name, family in BASES.items():
        parts = ", ".join(f"`{part}`" for part in (family.denoiser, *family.text_encoders))
        predicts = "the flow's direction" if family.forward_process is FlowMatching else "noise or v"
        recipe = "–"
        if family.recipe is not None:
            recipe = f"{family.recipe.learning_rate:g}, {family.recipe.steps} ({family.recipe.source})"
        lines.append(f"| `{name}` | {family.models} | {parts} | {predicts} | {recipe} |")
    return "\n".join(lines) + "\n"


def test_the_table_of_families_is_up_to_date():
    assert BLOCK.findall(DOCUMENT.read_text()) == [family_table()], "run `python -m tests.bases.test_docs_tables`"


if __name__ == "__main__":
    DOCUMENT.write_text(BLOCK.sub(lambda _: family_table(), DOCUMENT.read_text()))
