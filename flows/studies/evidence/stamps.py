"""Stamps of tables: the commit, data, weights and metric definitions each was made with, and those of the tree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from flows.studies.evidence.figures import DATA, ROOT
from flows.studies.sealing import DEFINITION_SOURCES
from lycoris.analysis.text.formatting import join_names
from lycoris.cache.atomic import atomic_write_text
from lycoris.cache.keys import folder_digest, source_hash
from lycoris.errors import InputError
from lycoris.pocket import WEIGHTS

RECORDS = DATA / "evidence.yaml"
INPUTS = {"data": "data", "weights": "weights", "definitions": "metric definitions"}
"""Input of a table -> its name in a sentence."""
_STAMP = re.compile(r"(<!-- stamp (?P<name>[\w-]+) -->\n)(?P<text>.*?)(\n<!-- /stamp -->)", re.DOTALL)


@dataclass(frozen=True)
class Made:
    """What a table was made with: a commit, and 8 hexadecimal digits of each input; None where nobody recorded it."""

    commit: str | None
    inputs: Mapping[str, str | None]


@dataclass(frozen=True)
class TableRecord:
    """How a table is made.

    Attributes:
        name: of its stamp and of its files in ``docs/data``.
        document: relative to the repository.
        made: what it was made with; None for one that was never made.
        maker: a function of `flows.studies.evidence.making`; None for a study.
        before: a module with its arguments that runs first, where its last argument does not exist.
        commands: of `lycoris`; OUTPUT stands for the output folder.
        script: a module with its arguments that runs after the commands.
        study: name of the folder of the results in the output folder.
        inputs: those of `INPUTS` that decide the table.
        sources: files and folders of the library that define its metrics.
        core_hours: hours of one core; None where they are not known.
        hours_from: where that number is from.
    """

    name: str
    document: str
    made: Made | None
    maker: str | None = None
    before: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    script: tuple[str, ...] = ()
    study: str | None = None
    inputs: tuple[str, ...] = tuple(INPUTS)
    sources: tuple[str, ...] = DEFINITION_SOURCES
    core_hours: float | None = None
    hours_from: str | None = None


def read_records(root: Path = ROOT) -> dict[str, TableRecord]:
    """Return the record of each table by name.

    Raises:
        InputError: A record is not complete.
    """
    tables = yaml.safe_load((root / RECORDS).read_text(encoding="utf-8"))["tables"]
    records = {}
    for name, fields in tables.items():
        made = fields.pop("made")
        lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
        record = TableRecord(
            name=name,
            made=made and Made(made["commit"], {key: value for key, value in made.items() if key != "commit"}),
            **{**fields, **lists},
        )
        if not (record.maker or record.commands or record.script):
            raise InputError(f"The table `{name}` of `{RECORDS}` must have `maker`, `commands` or `script`.")
        if made and set(record.made.inputs if record.made else ()) != set(record.inputs):
            raise InputError(f"The table `{name}` of `{RECORDS}` must record {', '.join(record.inputs)}.")
        records[name] = record
    return records


def read_tree(sources: tuple[str, ...] = DEFINITION_SOURCES, root: Path = ROOT) -> dict[str, str]:
    """Return 8 hexadecimal digits of the data, of the weights and of the metric definitions of the tree."""
    found = re.search(r"md5: ([0-9a-f]{8})", (root / "data.dvc").read_text(encoding="utf-8"))
    if found is None:
        raise InputError("`data.dvc` must have the md5 of the data.")
    weights = folder_digest(WEIGHTS)
    return {"data": found[1], "weights": weights[:8], "definitions": source_hash(*sources)[:8]}


tree_inputs = cache(read_tree)
"""`read_tree`, once a process."""


def stale_inputs(record: TableRecord, tree: Mapping[str, str]) -> list[str]:
    """Return the inputs in which a table differs from the tree, or for which nothing was recorded."""
    return [name for name in record.inputs if record.made is None or record.made.inputs[name] != tree[name]]


def stamp_sentence(record: TableRecord, tree: Mapping[str, str]) -> str:
    """Return the sentence that stands beside a table."""
    if record.made is None:
        return f'Not made yet: `make evidence ARGS="--only {record.name}"`.'
    stale = stale_inputs(record, tree)
    recorded = [f"{INPUTS[name]} `{value}`" for name, value in record.made.inputs.items() if value]
    origin = ", ".join([*([f"commit `{record.made.commit}`"] if record.made.commit else []), *recorded])
    if not stale:
        return f"Made with {origin}."
    missing = [INPUTS[name] for name, value in record.made.inputs.items() if not value]
    changed = [INPUTS[name] for name in stale if record.made.inputs[name]]
    parts = [f"made with {origin}" if origin else "", f"since then changed: {join_names(changed)}" if changed else "",
             f"not recorded: {join_names(missing)}" if missing else ""]  # fmt: skip
    return f"**Made on an earlier version** ({'; '.join(part for part in parts if part)})."


def check_stamps(text: str, document: str, records: Mapping[str, TableRecord], root: Path = ROOT) -> list[str]:
    """Compare the stamps of a document with the records and the tree and return what differs, in words."""
    stamps = {found["name"]: found["text"] for found in _STAMP.finditer(text)}
    own = {name: one for name, one in records.items() if one.document == document}
    problems = [f"the stamp `{name}` has no record in {RECORDS}" for name in stamps if name not in own]
    for name, record in own.items():
        wanted = stamp_sentence(record, tree_inputs(record.sources, root))
        if name not in stamps:
            problems.append(f"the table `{name}` has no stamp")
        elif stamps[name] != wanted:
            problems.append(f"the stamp `{name}` says `{stamps[name]}` instead of `{wanted}`")
    return problems


def write_stamps(text: str, records: Mapping[str, TableRecord], root: Path = ROOT) -> str:
    """Return a document with the stamps that the records and the tree give."""
    return _STAMP.sub(
        lambda found: (
            f"{found[1]}"
            f"{stamp_sentence(records[found['name']], tree_inputs(records[found['name']].sources, root))}{found[4]}"
        ),
        text,
    )


def record_made(name: str, made: Made, root: Path = ROOT) -> None:
    """Write what a table was made with into its record; comments and other records stay as they are."""
    file = root / RECORDS
    text = file.read_text(encoding="utf-8")
    fields = ", ".join(f"{key}: {value!r}" if value else f"{key}: null" for key, value in made.inputs.items())
    line = f"    made: {{commit: {made.commit!r}, {fields}}}"
    changed, count = re.subn(
        rf"(^  {re.escape(name)}:\n(?:    .*\n|      .*\n)*?)    made: .*$", lambda found: found[1] + line, text,
        flags=re.MULTILINE,
    )  # fmt: skip
    if count != 1:
        raise InputError(f"The table `{name}` must stand in `{RECORDS}` once, with a line `made:`.")
    atomic_write_text(file, changed)
