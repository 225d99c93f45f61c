"""The folder of an experiment's results: its own, so that no other experiment's pages and adapters are replaced."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from flows.config.defaults import EXECUTION_FIELDS
from flows.config.experiment import Experiment
from lycoris.cache.atomic import atomic_write_text, remove_leftovers
from lycoris.cache.keys import stage_key
from tasks.artifacts import CaptionedConcept

RECORD_FILE, STUDY_FILE = "experiment.json", "study.json"
RESULT_PATTERNS = ("report.html", "scores.csv", "adapters/*")
"""What makes a folder used where it has no record."""
GRID_FIELDS = ("concepts", "algorithms", "captions", "seeds", "checkpoints")
"""Options that an experiment can add values to and stay the same."""
PARTIAL = "searched"
"""Key of a record: a search fills the folder with one part of the experiment after another."""
CONTENT = "content"
"""Key of a record: what the data consists of, as `DataContent` has it."""
MAX_DIFFERENCES, MAX_VALUE_LENGTH = 3, 40

logger = logging.getLogger("lycoris.flows.folder")


@dataclass(frozen=True)
class DataContent:
    """What results depend on in a data folder, so that results of other images or captions are known as such.

    Attributes:
        version: hash of the whole folder; None where only parts matter.
        parts: name, such as ``images of grumble`` -> hash. More parts are no other data.
    """

    version: str | None
    parts: Mapping[str, str]


def data_content(concepts: Iterable[CaptionedConcept], version: str | None) -> DataContent:
    """Return the content of captioned concepts."""
    parts = {}
    for concept in concepts:
        images = [concept.images_digest, concept.prior_digest, concept.trigger, concept.class_noun, concept.description]
        parts[f"images of {concept.name}"] = stage_key("content", {"images": images})
        for strategy, captions in concept.captions.items():
            texts = concept.alternatives.get(strategy) or captions
            parts[f"captions `{strategy}` of {concept.name}"] = stage_key("content", {"captions": texts})
    return DataContent(version, parts)


def claim_experiment_folder(
    experiment: Experiment, content: DataContent, *, searched: bool = False, is_part: bool = False
) -> Path:
    """Return the result folder of an experiment.

    Args:
        content: What the experiment uses of its data.
        searched: Whether it is run in parts, which replace one another.
        is_part: Whether it may be a part of the experiment that is searched there.
    """
    settings = _identity(experiment.model_dump(mode="json"), experiment.output)
    record = {**settings, CONTENT: asdict(content), **({PARTIAL: True} if searched else {})}
    return claim_folder(experiment.output, experiment.name, record, is_part=is_part)


def claim_folder(output: Path, name: str, settings: Mapping[str, Any], *, is_part: bool = False) -> Path:
    """Return ``output/name`` if it is free or holds the same experiment, else the next of ``name-2``, ``name-3``, ...

    An experiment is the same with more values in `GRID_FIELDS`, since its results contain those before, but not with
    other images or captions. The settings are recorded in the folder; where another experiment has the name, a message
    says so.

    Args:
        settings: What the results depend on, as JSON values; its `CONTENT` is a `DataContent`.
        is_part: Whether any values of them are the same, in a folder that a search fills.
    """
    differences: list[str] = []
    for folder in _candidates(output, name):
        recorded = _read_record(folder)
        if recorded is None and not is_used(folder):
            break
        own = ["it is of an earlier version"] if recorded is None else _differences(recorded, settings, is_part=is_part)
        if not own:
            break
        differences = differences or own
    if folder.name != name:
        text = "%s holds another experiment (%s), which stays as it is; this one is in %s"
        logger.warning(text, output / name, ", ".join(differences), folder)
    remove_leftovers(folder, "**/.*")
    if not is_part or recorded is None:
        atomic_write_text(folder / RECORD_FILE, json.dumps(settings, ensure_ascii=False, indent=1))
    return folder


def _candidates(output: Path, name: str) -> Iterator[Path]:
    yield output / name
    yield from (output / f"{name}-{number}" for number in count(2))


def _identity(settings: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """Return the settings that results depend on, with the data folder relative to the output folder."""
    own = {name: value for name, value in settings.items() if name not in EXECUTION_FIELDS or name == "data_rev"}
    return {**own, "data": os.path.relpath(Path(settings["data"]).resolve(), output.resolve())}


def _read_record(folder: Path) -> dict[str, Any] | None:
    """Return the settings of the experiment in a folder; None where they are not known."""
    for name in (RECORD_FILE, STUDY_FILE):
        try:
            record = json.loads((folder / name).read_text(encoding="utf-8"))
            if name == RECORD_FILE:
                return dict(record)
            content = DataContent(record.get("data_version"), {})
            return {**_identity(record["settings"], folder.parent), CONTENT: asdict(content)}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def is_used(folder: Path) -> bool:
    """Whether a folder has results."""
    return any(True for pattern in RESULT_PATTERNS for _ in folder.glob(pattern))


def _differences(recorded: Mapping[str, Any], settings: Mapping[str, Any], *, is_part: bool) -> list[str]:
    """Return what makes the recorded experiment another one, in words; empty if it is the same."""
    may_shrink = is_part and bool(recorded.get(PARTIAL))
    differences = []
    for name in dict.fromkeys([*settings, *recorded]):
        if name in (PARTIAL, CONTENT):
            continue
        before, now = recorded.get(name), settings.get(name)
        if before == now or (name in GRID_FIELDS and (may_shrink or _contains(now, before))):
            continue
        differences.append(f"{name} {_shortened(before)} there, {_shortened(now)} here")
    if not recorded.get(PARTIAL) and settings.get(PARTIAL):
        differences.append("it was not searched")
    differences += _content_differences(recorded, settings)
    rest = len(differences) - MAX_DIFFERENCES
    return [*differences[:MAX_DIFFERENCES], *([f"{rest} more"] if rest > 0 else [])]


def _content_differences(recorded: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Return the images and captions that changed; a search needs the very version, since it names no parts."""
    before, now = recorded.get(CONTENT) or {}, settings.get(CONTENT) or {}
    if before == now or (before.get("version") and before.get("version") == now.get("version")):
        return []
    parts, own = before.get("parts") or {}, now.get("parts") or {}
    if recorded.get(PARTIAL) or not parts:
        return ["other data"]
    return [f"{'other' if name in own else 'no'} {name}" for name, digest in parts.items() if own.get(name) != digest]


def _contains(values: Any, others: Any) -> bool:
    return isinstance(values, list) and isinstance(others, list) and all(other in values for other in others)


def _shortened(value: Any) -> str:
    from lycoris.report.shared.templates import plain_value

    text = "not set" if value in (None, [], {}) else plain_value(value)
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}..."
