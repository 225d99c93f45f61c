"""The project uses the field's terms: words that it once coined or borrowed do not come back."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACES = (
    "flows",
    "tasks",
    "lycoris",
    "tests",
    "benchmarks",
    "examples",
    "studies",
    "docs",
    "README.md",
    "CONTRIBUTING.md",
)
AVOIDED = re.compile(
    r"\b(told|said|mend(?:ed|s)?|whatever|patience|wholeness|at_hand|asked_again|crown(?:ed)?|dials?)\b"
)
_VOCABULARIES = ("base/tokenizer", "clip", "flow/tokenizer")
REAL_USES = {
    ("flows/cli/study.py", "told"),  # a key of `lycoris study --json`
    ("flows/studies/answer.py", "told"),
    ("tests/e2e/test_study.py", "told"),
    ("tests/flows/studies/test_study.py", "told"),
    ("lycoris/pocket/world/vocabulary.py", "crown"),  # a thing that captions can name
    *((f"lycoris/pocket/weights/{name}/tokenizer.json", "crown") for name in _VOCABULARIES),
}
"""Files that use an avoided word in its real sense."""


def avoided_words() -> set[tuple[str, str]]:
    """Avoided words by the file that uses them."""
    uses = set()
    for place in PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else path.rglob("*"):
            if not file.is_file() or "__pycache__" in file.parts or file == Path(__file__):
                continue
            try:
                text = file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            uses |= {(file.relative_to(ROOT).as_posix(), word) for word in AVOIDED.findall(text)}
    return uses


def test_avoided_words_have_no_other_than_their_real_uses() -> None:
    assert avoided_words() == REAL_USES


def test_avoided_words_are_matched_as_whole_words() -> None:
    assert AVOIDED.findall("The dials said so; whatever was mended.") == ["dials", "said", "whatever", "mended"]
    assert not AVOIDED.search("amend radial sundial_face crown_prince patience_ untold")
