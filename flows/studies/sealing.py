"""Seals: what a study's expectations, definitions, concepts and code were before it ran."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.config.concepts import select_concepts
from flows.config.defaults import EXECUTION_FIELDS
from flows.runtime.environment import code_version
from flows.steps.result_folder import RECORD_FILE, is_used
from lycoris.cache.atomic import atomic_write_text
from lycoris.cache.integrity import file_digest
from lycoris.cache.keys import PACKAGE_ROOT, source_hash, stage_key
from lycoris.errors import InputError, unknown_name_error

if TYPE_CHECKING:
    from flows.studies.definition import Study
    from lycoris.data.concepts import Concept

SEAL_FILE = "seal.json"
DEFINITION_SOURCES = (
    *("metrics", "analysis/statistics", "analysis/io", "encoders", "captions/prompts.py", "terms.py"),
)
"""Files of the library that define metrics and prompts and decide what is confirmed."""
CODE_SOURCES = ("adapters", "bases", "captions", "data", "pocket", "segmentation", "training")
"""The rest of what results depend on. A change is reported, and needs no new seal."""
CODE = "code"
"""The part of a seal that may change."""
NEW_SEAL_HINT = "`--new-seal` seals the study again and keeps the old seal on its page."
MAX_DIFFERENCES = 6


@dataclass(frozen=True)
class Seal:
    """What was fixed before a study ran.

    Attributes:
        sealed_at: when, in UTC.
        parts: ``question``, ``expectations``, ``definitions``, ``concepts``, ``seeds``, ``experiment`` and ``code`` ->
            its content as JSON values: texts, settings and hashes.
        after_results: whether the study had begun before, so that its results can confirm nothing.
    """

    sealed_at: str
    parts: Mapping[str, Any]
    after_results: bool

    @property
    def hash(self) -> str:
        """64 hexadecimal digits over everything in the seal."""
        return stage_key("seal", asdict(self))


@dataclass(frozen=True)
class SealState:
    """The seals of a study, and how the study differs from the last one.

    Attributes:
        seals: all of them, the valid one last; never empty.
        differences: what was defined differently since then, in words; results confirm nothing where there are any.
        code_changes: what else has changed in the code.
    """

    seals: tuple[Seal, ...]
    differences: tuple[str, ...] = ()
    code_changes: tuple[str, ...] = ()

    @property
    def current(self) -> Seal:
        """The seal that holds."""
        return self.seals[-1]

    @property
    def confirms(self) -> bool:
        """Whether the expectations were fixed before there were results, and are the same still."""
        return not self.differences and not self.current.after_results


def seal_study(study: Study, data: Path, *, replace: bool = False) -> SealState:
    """Seal a study that has none, or check that it is as it was sealed.

    Args:
        study: A study with expectations.
        data: Its data folder, of the version that it uses.
        replace: Whether a study that differs from its seal is sealed again; the old seals stay in the file.

    Raises:
        InputError: The study has no expectations, one of them names what the study does not have, it differs from its
            seal, or its seal was changed.
    """
    if not study.expect:
        raise InputError(f"The study `{study.name}` has no `expect:`, so there is nothing to seal (docs/studies.md).")
    parts = study_parts(study, data)
    _check_names(study, parts)
    seals = read_seals(study.folder)
    if seals:
        state = compare_with_seal(seals, parts)
        if not state.differences or not replace:
            if state.differences:
                raise InputError(
                    f"The study differs from its seal in `{study.folder / SEAL_FILE}`: {', '.join(state.differences)}. "
                    + NEW_SEAL_HINT
                )
            return state
    now = datetime.now(UTC).isoformat(timespec="seconds")
    seals = (*seals, Seal(now, parts, after_results=has_results(study.folder)))
    write_seals(study.folder, seals)
    return SealState(seals)


def study_parts(study: Study, data: Path) -> dict[str, Any]:
    """Return everything that a seal holds, as JSON values."""
    experiment = study.experiment
    settings = experiment.model_dump(mode="json", exclude={*EXECUTION_FIELDS, "concepts", "seeds"})
    parts = {
        **definition_parts(study),
        "concepts": {concept.name: _concept_content(concept) for concept in select_concepts(experiment, data).selected},
        "seeds": list(experiment.seeds),
        "experiment": {
            **settings, "match_budget": study.match_budget and study.match_budget.model_dump(mode="json")
        },
        CODE: {"version": code_version(), **{name: source_hash(name) for name in CODE_SOURCES}},
    }  # fmt: skip
    return dict(json.loads(json.dumps(parts)))


def definition_parts(study: Study) -> dict[str, Any]:
    """Return the parts of a seal that can be checked without data."""
    parts = {
        "question": study.question,
        "expectations": [asdict(one) for one in study.expect],
        "definitions": {name: source_hash(name) for name in _source_files(DEFINITION_SOURCES)},
    }
    return dict(json.loads(json.dumps(parts)))


def compare_with_seal(seals: Sequence[Seal], parts: Mapping[str, Any]) -> SealState:
    """Compare parts of a study with its last seal; parts that are not given are not compared."""
    differences: dict[str, list[str]] = {"": [], CODE: []}
    for name, now in parts.items():
        before = seals[-1].parts.get(name)
        if before == now:
            continue
        names = [name]
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            changed = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
            shown = [*changed[:MAX_DIFFERENCES], *(["..."] if len(changed) > MAX_DIFFERENCES else [])]
            names = [f"{name} ({', '.join(shown)})"]
        differences[CODE if name == CODE else ""] += names
    return SealState(tuple(seals), tuple(differences[""]), tuple(differences[CODE]))


def read_seals(folder: Path) -> tuple[Seal, ...]:
    """Return the seals of a study's folder, the oldest first; none where it is not sealed.

    Raises:
        InputError: The file cannot be read, or a seal does not have the hash that it was written with.
    """
    file = folder / SEAL_FILE
    if not file.is_file():
        return ()
    try:
        records = json.loads(file.read_text(encoding="utf-8"))["seals"]
        seals = tuple(Seal(one["sealed_at"], one["parts"], one["after_results"]) for one in records)
        hashes = [one["hash"] for one in records]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The seal `{file}` cannot be read: {error!r}") from error
    for seal, recorded in zip(seals, hashes, strict=True):
        if seal.hash != recorded:
            raise InputError(f"The seal of {seal.sealed_at} in `{file}` was changed: its hash is not {recorded}.")
    return seals


def write_seals(folder: Path, seals: Sequence[Seal]) -> Path:
    """Write the seals of a study into its folder and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [{"hash": seal.hash, **asdict(seal)} for seal in seals]
    atomic_write_text(folder / SEAL_FILE, json.dumps({"seals": records}, ensure_ascii=False, indent=1))
    return folder / SEAL_FILE


def has_results(folder: Path) -> bool:
    """Whether a study was begun in a folder, or in one that was numbered because another experiment was in it."""
    folders = (folder, *folder.parent.glob(f"{escape(folder.name)}-[0-9]*"))
    return any(is_used(one) or (one / RECORD_FILE).is_file() for one in folders)


def _concept_content(concept: Concept) -> str:
    """Return the hash of a concept's words, images and caption files."""
    words: list[Any] = [concept.category, concept.full_name, concept.description, concept.inherent, concept.keep]
    words += [[one.name, one.trigger, one.description] for one in concept.subclasses]
    paths = [image.path for image in concept.images]
    files = sorted({file for path in paths for file in path.parent.glob(f"{escape(path.stem)}.*")})
    return stage_key("concept", {"words": words, "files": [[file.name, file_digest(file)] for file in files]})


def _source_files(sources: Sequence[str]) -> list[str]:
    """Return the Python files below some files and folders of the library, relative to it."""
    roots = [PACKAGE_ROOT / source for source in sources]
    files = [file for root in roots for file in (sorted(root.rglob("*.py")) if root.is_dir() else [root])]
    return [file.relative_to(PACKAGE_ROOT).as_posix() for file in files]


def _check_names(study: Study, parts: Mapping[str, Any]) -> None:
    """Check that expectations name algorithms, captions and concepts that the study has."""
    experiment = study.experiment
    known = {
        "algorithm": {adapter.algorithm for adapter in experiment.algorithms},
        "captions": set(experiment.strategies),
        "concept": set(parts["concepts"]),
    }
    for one in study.expect:
        named = {**one.where, one.factor: (one.level, one.against)}
        for name, names in known.items():
            for value in named.get(name, ()):
                if value not in names:
                    raise unknown_name_error(f"{name} of an expectation of this study", value, names)
