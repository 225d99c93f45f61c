"""The generated tables in docs/bases.md; ``python -m tests.bases.test_docs_tables`` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lycoris.bases import BASES, FlowMatching
from tests.bases.small_families import CASES
from tests.bases.small_flow_families import FLOW_CASES, ROLE_PRESETS

DOCUMENT = Path(__file__).parents[2] / "docs" / "bases.md"


def block(name: str) -> re.Pattern[str]:
    """The generated part of the document with a name."""
    return re.compile(rf"(?<=<!-- {name}: begin -->\n).*(?=<!-- {name}: end -->)", re.DOTALL)


def family_table() -> str:
    """Families with their parts and what they predict, as Markdown."""
    lines = ["| family | models | adaptable parts | predicts |", "|---|---|---|---|"]
    for name, family in BASES.items():
        parts = ", ".join(f"`{part}`" for part in (family.denoiser, *family.text_encoders))
        predicts = "the flow's direction" if family.forward_process is FlowMatching else "noise or v"
        lines.append(f"| `{name}` | {family.models} | {parts} | {predicts} |")
    return "\n".join(lines) + "\n"


def recipe_table() -> str:
    """The public settings of each family and their sources, as Markdown."""
    lines = [
        "| family | learning rate | LoRA rank, alpha | steps, images of each | times | from |",
        "|---|---|---|---|---|---|",
    ]
    for name, family in BASES.items():
        if (recipe := family.recipe) is None:
            continue
        density = recipe.timestep_density or "logit-normal"
        options = "".join(f", {option} {value:g}" for option, value in recipe.timestep_density_options.items())
        shift = "the scheduler's shift" if recipe.timestep_shift is None else f"shift {recipe.timestep_shift:g}"
        times = f"{density}{options}, {shift}" if family.forward_process is FlowMatching else "–"
        lines.append(
            f"| `{name}` | {recipe.learning_rate:g} | {recipe.rank}, {recipe.alpha or recipe.rank:g} "
            f"| {recipe.steps}, {recipe.accumulation} | {times} | {recipe.source} |"
        )
    return "\n".join(lines) + "\n"


def preset_table() -> str:
    """How many layers of each small model's denoiser the presets choose, as Markdown."""
    cases = [
        (name, case.family, case.presets) for name, case in CASES.items() if name not in ("sd-v-zero", *FLOW_CASES)
    ]
    cases += [(name, case.family, case.layers) for name, case in FLOW_CASES.items()]
    lines = ["| small model | family | " + " | ".join(f"`{preset}`" for preset in ROLE_PRESETS) + " |"]
    lines.append("|" + "---|" * (2 + len(ROLE_PRESETS)))
    lines += [f"| {name} | `{family}` | {' | '.join(map(str, counts))} |" for name, family, counts in cases]
    return "\n".join(lines) + "\n"


TABLES = {"families": family_table, "recipes": recipe_table, "presets": preset_table}


@pytest.mark.parametrize("name", TABLES)
def test_a_generated_table_is_up_to_date(name):
    assert block(name).findall(DOCUMENT.read_text()) == [TABLES[name]()], "run `python -m tests.bases.test_docs_tables`"


if __name__ == "__main__":
    text = DOCUMENT.read_text()
    for name, build in TABLES.items():
        text = block(name).sub(lambda _, build=build: build(), text)
    DOCUMENT.write_text(text)
