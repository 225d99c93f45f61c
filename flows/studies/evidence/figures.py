"""Figures in documents: each is checked against a value in a file beside the documents, or listed as without a source.

A block of a document names its source and its figures, in the order in which they are printed:

    <!-- figures published: lead/lokr:d lead/lora:d -->
    LoKr leads 25, LoRA 19 ...
    <!-- /figures -->

A figure is ``KEY:FORMAT``, where KEY is a row of ``docs/data/<source>.csv``, or ``=TEXT`` for a number that is no
result. Formats: ``2``: two decimals; ``d``: an integer; ``i`` after them: value and interval; ``+`` before: with its
sign; ``-`` before: with the opposite sign.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from lycoris.analysis.text.formatting import format_number
from lycoris.errors import InputError, unknown_name_error

ROOT = Path(__file__).parents[3]
DATA = Path("docs/data")
UNSOURCED = DATA / "unsourced.yaml"
FIGURE = re.compile(r"(?<![\w.])[+−-]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?!\w)")
"""A number in the text of a document; parts of words are none."""
_BLOCK = re.compile(r"<!-- figures (?P<source>[\w-]+):(?P<figures>.*?)-->(?P<text>.*?)<!-- /figures -->", re.DOTALL)
_CHECKED = re.compile(r"<!-- (?P<kind>figures|table|stamp) .*?<!-- /(?P=kind) -->", re.DOTALL)
"""What is compared with a file: a block, a table of a study, a stamp."""
_NO_FIGURES = re.compile(r"<!--.*?-->|`[^`\n]*`|\]\([^)\n]*\)|^ {4,}\S[^\n]*$|^```.*?^```", re.DOTALL | re.MULTILINE)
_FORMAT = re.compile(r"(?P<sign>[+-]?)(?P<digits>\d|d)(?P<interval>i?)")


@dataclass(frozen=True)
class Value:
    """A result with its interval; ``low`` and ``high`` are None where it has none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Figure:
    """A number in a document, with its position."""

    text: str
    start: int
    end: int


def read_values(file: Path) -> dict[str, Value]:
    """Return the values of a file with the columns ``key``, ``value``, ``low`` and ``high``.

    Raises:
        InputError: The file is not there, or a key is in it twice.
    """
    if not file.is_file():
        raise InputError(f"There is no file `{file}`, from which figures of the documents are.")
    values: dict[str, Value] = {}
    with file.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["key"] in values:
                raise InputError(f"The file `{file}` has the key `{row['key']}` twice.")
            values[row["key"]] = Value(
                float(row["value"]), *(float(row[k]) if row[k] else None for k in ("low", "high"))
            )
    return values


def figures_in(text: str) -> list[Figure]:
    """Return the numbers of a text, without those in comments, code and addresses."""
    hidden = _NO_FIGURES.sub(lambda found: " " * len(found[0]), text)
    return [Figure(found[0], *found.span()) for found in FIGURE.finditer(hidden)]


def falsify(text: str, figure: Figure) -> str:
    """Return a text with one figure changed by one in its last place."""
    last = figure.text[-1]
    changed = figure.text[:-1] + (str(int(last) - 1) if last != "0" else "1")
    return text[: figure.start] + changed + text[figure.end :]


def expected_figures(expression: str, values: Mapping[str, Value]) -> list[str]:
    """Return the figures that an expression of a block prints.

    Raises:
        InputError: A key or a format is unknown.
    """
    result: list[str] = []
    for one in expression.split():
        if one.startswith("="):
            result.append(one[1:])
            continue
        key, _, style = one.rpartition(":")
        form = _FORMAT.fullmatch(style)
        if form is None:
            raise InputError(
                f"A figure must be `KEY:FORMAT`, with a format such as `2`, `d` or `+2i`, but got `{one}`."
            )
        if key not in values:
            raise unknown_name_error("figure", key, tuple(values))
        result += _printed(values[key], form["sign"], form["digits"], with_interval=bool(form["interval"]))
    return result


def _printed(value: Value, sign: str, digits: str, *, with_interval: bool) -> list[str]:
    factor, decimals = (-1 if sign == "-" else 1), (0 if digits == "d" else int(digits))
    texts = [format_number(factor * value.value, decimals, signed=sign == "+")]
    if with_interval:
        if value.low is None or value.high is None:
            raise InputError("A figure is printed with an interval, and its source has none.")
        texts += [format_number(end, decimals) for end in sorted((factor * value.low, factor * value.high))]
    return texts


def figure_blocks(text: str) -> Iterator[tuple[str, str, int, str]]:
    """Yield source, expression, position and text of each block of a document."""
    for found in _BLOCK.finditer(text):
        yield found["source"], found["figures"], found.start("text"), found["text"]


def check_blocks(text: str, sources: Mapping[str, Mapping[str, Value]]) -> list[str]:
    """Compare the figures of each block with their source and return what differs, in words."""
    problems = []
    for source, expression, start, block in figure_blocks(text):
        wanted, shown = expected_figures(expression, sources[source]), [one.text for one in figures_in(block)]
        line = text.count("\n", 0, start) + 1
        if len(wanted) != len(shown):
            problems.append(
                f"line {line}: {len(shown)} figures are printed, {len(wanted)} are named: {shown}, {wanted}"
            )
        problems += [
            f"line {line}: `{two}` is printed, {source} gives `{one}`"
            for one, two in zip(wanted, shown, strict=False)
            if one != two
        ]
    return problems


def write_blocks(text: str, sources: Mapping[str, Mapping[str, Value]]) -> str:
    """Return a document with the figures of its blocks replaced by those of their sources."""
    for source, expression, start, block in reversed(list(figure_blocks(text))):
        shown = figures_in(block)
        wanted = expected_figures(expression, sources[source])
        if len(wanted) != len(shown):
            raise InputError(f"A block of {source} prints {len(shown)} figures and names {len(wanted)}.")
        for figure, new in reversed(list(zip(shown, wanted, strict=True))):
            text = text[: start + figure.start] + new + text[start + figure.end :]
    return text


def read_sources(text: str, root: Path = ROOT) -> dict[str, dict[str, Value]]:
    """Return the values of every source that a document's blocks name."""
    names = {source for source, *_ in figure_blocks(text)}
    return {name: read_values(root / DATA / f"{name}.csv") for name in sorted(names)}


def section_span(text: str, heading: str) -> tuple[int, int]:
    """Return where a section of a document starts and ends, its subsections included.

    Raises:
        InputError: The document has no such heading, or has it twice.
    """
    found = _headings(text, heading)
    if len(found) != 1:
        raise InputError(f"A document must have the heading `{heading}` once, but has it {len(found)} times.")
    end = re.search(rf"^#{{1,{len(found[0][1])}}} ", text[found[0].end() :], re.MULTILINE)
    return found[0].start(), found[0].end() + end.start() if end else len(text)


def _headings(text: str, heading: str) -> list[re.Match[str]]:
    return list(re.finditer(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE))


def unsourced_figures(text: str, heading: str) -> list[Figure]:
    """Return the figures of a section that no block and no table of a study covers."""
    start, end = section_span(text, heading)
    return [one for one in _unchecked_figures(text) if start <= one.start < end]


def uncovered_figures(text: str, headings: Iterable[str]) -> list[Figure]:
    """Return the figures of a document that no block, no table of a study and none of the sections covers."""
    spans = [section_span(text, heading) for heading in headings if _headings(text, heading)]
    return [one for one in _unchecked_figures(text) if not any(a <= one.start < b for a, b in spans)]


@lru_cache(maxsize=4)
def _unchecked_figures(text: str) -> list[Figure]:
    spans = [found.span() for found in _CHECKED.finditer(text)]
    return [one for one in figures_in(text) if not any(a <= one.start < b for a, b in spans)]


def figures_digest(figures: list[Figure]) -> str:
    """Return 12 hexadecimal digits over figures in their order."""
    return hashlib.sha256(" ".join(one.text for one in figures).encode()).hexdigest()[:12]


def read_unsourced(root: Path = ROOT) -> dict[str, dict[str, dict[str, str | int]]]:
    """Return document -> section -> reason, number and digest of its figures without a source."""
    return dict(yaml.safe_load((root / UNSOURCED).read_text(encoding="utf-8"))["sections"])


def read_not_covered(root: Path = ROOT) -> dict[str, str]:
    """Return document -> why its figures outside blocks and listed sections are compared with nothing."""
    return dict(yaml.safe_load((root / UNSOURCED).read_text(encoding="utf-8"))["not_covered"])


def check_coverage(text: str, sections: Iterable[str], reason: str | None) -> list[str]:
    """Return, in words, that a document has figures that are neither covered nor listed, or is listed without such."""
    figures = uncovered_figures(text, sections)
    if figures and not reason:
        line = text.count("\n", 0, figures[0].start) + 1
        return [
            f"{len(figures)} figures, the first `{figures[0].text}` in line {line}, are in no block and in no section "
            f"of {UNSOURCED}, and its `not_covered` has no reason for the document"
        ]
    return [f"`not_covered` of {UNSOURCED} lists the document, and all its figures are covered"] * (
        reason is not None and not figures
    )


def check_unsourced(text: str, sections: Mapping[str, Mapping[str, str | int]]) -> list[str]:
    """Compare the figures without a source of a document with their list and return what differs, in words."""
    problems = []
    for heading, listed in sections.items():
        try:
            figures = unsourced_figures(text, heading)
        except InputError as error:  # a number of the heading itself may have been changed
            problems.append(f"{UNSOURCED}: {error}")
            continue
        now = (len(figures), figures_digest(figures))
        if now != (listed["figures"], listed["digest"]):
            problems.append(
                f"section `{heading}`: {now[0]} figures without a source, {now[1]}, are not the {listed['figures']}, "
                f"{listed['digest']}, of {UNSOURCED}; after a correction: python -m flows.studies.evidence --accept"
            )
    return problems
