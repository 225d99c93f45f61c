"""The table of families in docs/bases.md; ``python -m tests.bases.test_docs_tables`` writes it anew."""

from __future__ import annotations

import re
from pathlib import Path

from lycoris.bases import BASES, FlowMatching

DOCUMENT = Path(__file__).parents[2] / "docs" / "bases.md"
BLOCK = re.compile(r"(?<=<!-- families: begin -->\n).*(?=<!-- families: end -->)", re.DOTALL)


def family_table() -> str:
    """Families with their parts and what they predict, as Markdown."""
    lines = ["| family | models | adaptable parts | predicts | default scheduler |", "|---|---|---|---|---|"]
    for name, family in BASES.items():
        parts = ", ".join(f"`{part}`" for part in (family.denoiser, *family.text_encoders))
        predicts, scheduler = ("noise or v, as its scheduler says", "ddim")
        if family.forward_process is FlowMatching:
            predicts, scheduler = "the flow's direction", "flow-euler"
        lines.append(f"| `{name}` | {family.models} | {parts} | {predicts} | `{scheduler}` |")
    return "\n".join(lines) + "\n"


def test_the_table_of_families_is_up_to_date():
    assert BLOCK.findall(DOCUMENT.read_text()) == [family_table()], "run `python -m tests.bases.test_docs_tables`"


if __name__ == "__main__":
    DOCUMENT.write_text(BLOCK.sub(lambda _: family_table(), DOCUMENT.read_text()))
