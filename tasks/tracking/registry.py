"""The model registry: read and download versions, and find which data champions depend on."""

from __future__ import annotations

import difflib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.analysis.text.formatting import counted
from lycoris.cache.atomic import atomic_write
from lycoris.cache.integrity import file_digest
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.redaction import redact
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking.adapter_record import LINEAGE_TAG
from tasks.tracking.client import TrackingServer, connect
from tasks.tracking.models import download_file, list_versions, version_by_alias

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

    from lycoris.analysis.decisions.strength import StrengthChoice

NOT_PROMOTED_TAG = "champion.not_promoted"
"""Tag of a version: why it did not become champion although it is the best of its study."""
STRENGTH_TAG = "strength"
"""Tag of a version: the recommended strength, with its interval and where it comes from, as JSON values."""
PROTECTED_ALIASES = ("champion", "previous")
"""Aliases whose data must not be removed: the version in use, and the one that `rollback` returns to."""
MAX_MODELS = 1000
MAX_STRENGTH = 2
_TEXT_TAGS = {
    "run_id": "run", "data_version": "data.version", "commit": "commit", "base": "base", "base_digest": "base.digest",
    "algorithm": "algorithm", "strategy": "captions", "artifact_key": "adapter.key", "file_name": "adapter.file",
    "sha256": "adapter.sha256", "reason": "champion.reason",
    "not_promoted": NOT_PROMOTED_TAG,
    "trigger": "trigger",
}  # fmt: skip
"""Attribute of a version -> its tag, where that is text."""


@dataclass(frozen=True)
class ModelVersion:
    """A registered version with its lineage.

    Attributes:
        concept: name of the model.
        version: its number.
        aliases: its current aliases.
        run_id: of its training in MLflow.
        data_version: hash of the data version it was trained on.
        base: source of the base, with the hash of its files in `base_digest`.
        algorithm: label of the adapter; `strategy` and `seed` are the rest of its `RunSpec`.
        settings: everything that decided the training.
        scores: name -> value.
        artifact_key: content key of the adapter.
        file_name: of the adapter file, with its SHA-256 in `sha256`.
        reason: why it became champion; None if it never did.
        not_promoted: why it did not, although it is the best of its study; None where that does not apply.
        trigger: the word that stands for the concept; None in versions of earlier releases.
        prompts: some that it was scored with, the trigger alone first.
        strength: the recommended one as ``value`` with ``low``, ``high`` and ``origin``; empty if it was not measured.
    """

    concept: str
    version: str
    aliases: tuple[str, ...]
    run_id: str | None
    data_version: str | None
    commit: str | None
    base: str | None
    base_digest: str | None
    algorithm: str | None
    strategy: str | None
    seed: int | None
    settings: dict[str, Any]
    scores: dict[str, float | None]
    artifact_key: str | None
    file_name: str | None
    sha256: str | None
    reason: str | None
    not_promoted: str | None
    trigger: str | None
    prompts: tuple[str, ...]
    strength: dict[str, Any]


@retry_while_unavailable
def get_version(server: TrackingServer, name: str) -> ModelVersion:
    """A version by ``CONCEPT``, ``CONCEPT@ALIAS`` or ``CONCEPT@NUMBER``; the champion if only the concept is named.

    Raises:
        InputError: there is no such version.
    """
    client = connect(server)
    models = {model.name: model for model in client.search_registered_models(max_results=MAX_MODELS)}
    concept, _, suffix = (name, "", "") if name in models or "@" not in name else name.rpartition("@")
    suffix = suffix or "champion"
    if concept not in models:
        if models:
            raise unknown_name_error("concept", concept, models)
        raise InputError(redact(f"`{server.uri}` has no registered concepts."))
    versions = {str(version.version) for version in list_versions(client, concept)}
    number = suffix if suffix.isdecimal() else models[concept].aliases.get(suffix)
    if number is None or str(number) not in versions:
        aliases = sorted(models[concept].aliases)
        if suffix == "champion":
            challenger = models[concept].aliases.get("challenger")
            raise InputError(_no_champion(client, concept, challenger, len(versions)))
        nearest = difflib.get_close_matches(suffix, aliases, n=1, cutoff=0.5)
        hint = f" Did you mean `{concept}@{nearest[0]}`?" if nearest else ""
        raise InputError(
            f"Concept `{concept}` has no version `{suffix}`.{hint} It has the aliases {', '.join(aliases) or '(none)'} "
            f"and {counted(len(versions), 'version')}."
        )
    return _from_mlflow(client.get_model_version(concept, str(number)))


def _no_champion(client: MlflowClient, concept: str, challenger: str | None, count: int) -> str:
    """Say that a concept has no champion, why, and how to get one of its versions."""
    text = f"Concept `{concept}` has no champion"
    if challenger is None:
        return f"{text}; name one of its {counted(count, 'version')}: `{concept}@NUMBER`."
    reason = client.get_model_version(concept, challenger).tags.get(NOT_PROMOTED_TAG)
    return (
        f"{text}: {reason or 'none was promoted'}. `lycoris pull {concept}@challenger` fetches the best of the newest "
        f"study, version {challenger}, all the same; `{concept}@NUMBER` is any version."
    )


def get_champion(server: TrackingServer, concept: str) -> ModelVersion | None:
    """A concept's champion, or None if it has none."""
    client = connect(server)
    champion = version_by_alias(client, concept, "champion")
    return None if champion is None else _from_mlflow(client.get_model_version(concept, str(champion.version)))


def _from_mlflow(version: MlflowVersion) -> ModelVersion:
    # versions of earlier releases have tags instead of the lineage
    tags = {**_read_tag(version, LINEAGE_TAG, _json_object), **version.tags}
    return ModelVersion(
        concept=version.name,
        version=str(version.version),
        aliases=tuple(sorted(version.aliases)),
        seed=_read_tag(version, "seed", int),
        settings=_read_tag(version, "settings", _json_object),
        scores=_read_tag(version, "scores", _json_object),
        strength=_read_tag(version, STRENGTH_TAG, _strength),
        prompts=_read_prompts(version, tags.get("prompts")),
        **{field: tags.get(tag) for field, tag in _TEXT_TAGS.items()},
    )


def _read_prompts(version: MlflowVersion, text: str | None) -> tuple[str, ...]:
    try:
        prompts = json.loads(text or "[]")
    except (ValueError, TypeError, RecursionError):
        prompts = None
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise InputError(
            f"Entry `prompts` of version {version.version} of `{version.name}` in the registry must be a list of texts."
        )
    return tuple(prompts)


def _read_tag(version: MlflowVersion, name: str, parse: Callable[[str], Any]) -> Any:
    """The value of a tag that anybody with access to the registry may have written; None or {} without it.

    Raises:
        InputError: it cannot be parsed.
    """
    text = version.tags.get(name)
    if text is None:
        return None if parse is int else {}
    try:
        return parse(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"Tag `{name}` of version {version.version} of `{version.name}` in the registry cannot be read: {error}"
        ) from error


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("it must be a JSON object")
    return value


def _strength(text: str) -> dict[str, Any]:
    value = _json_object(text)
    for name in ("value", "low", "high"):
        if not isinstance(value.get(name), int | float) or not 0 < value[name] <= MAX_STRENGTH:
            raise ValueError(f"`{name}` must be a number in (0, {MAX_STRENGTH}], but is {value.get(name)}")
    return {**value, "origin": str(value.get("origin", "not recorded"))}


def lineage(version: ModelVersion) -> dict[str, Any]:
    """A version as JSON values, under the names that ``--json`` prints."""
    values = {**asdict(version), "aliases": list(version.aliases), "prompts": list(version.prompts)}
    names = {
        "data_version": "data",
        "artifact_key": "key",
        "file_name": "file",
        "run_id": "run",
        "strategy": "captions",
    }
    return {names.get(name, name): value for name, value in values.items()}


def pull(server: TrackingServer, name: str, out: Path | None = None) -> tuple[ModelVersion, Path]:
    """Download the adapter file of a version; it appears complete or not at all.

    Args:
        name: see `get_version`.
        out: the file to write; default: ``<CONCEPT>.safetensors`` here, unless another file has that name.

    Raises:
        InputError: there is no such version, its file is not the registered one, or `out` cannot be written.
    """
    version = get_version(server, name)
    if version.file_name is None:
        raise InputError(f"Version {version.version} of `{version.concept}` was not registered by this project.")
    target = Path(f"{version.concept}.safetensors") if out is None else Path(out)
    if out is None and target.exists() and file_digest(target) != version.sha256:
        raise InputError(f"`{target}` exists and is another file: name one with `--out FILE`.")
    with tempfile.TemporaryDirectory() as folder:
        name_in_registry = Path(version.file_name).name
        downloaded = download_file(server, version.concept, version.version, name_in_registry, Path(folder))
        digest = file_digest(downloaded) if downloaded.is_file() else "that of no file"
        if digest != version.sha256:
            raise InputError(
                f"The registry's file of version {version.version} of `{version.concept}` is not the registered one: "
                f"its SHA-256 must be {version.sha256}, but is {digest}."
            )
        try:
            with atomic_write(target) as temporary:
                shutil.copyfile(downloaded, temporary)
        except OSError as error:
            raise InputError(f"`{target}` cannot be written: {error.strerror or error}.") from error
    return version, target


@retry_while_unavailable
def set_version_tag(server: TrackingServer, version: ModelVersion, name: str, value: str) -> None:
    """Set a tag of a version."""
    connect(server).set_model_version_tag(version.concept, version.version, name, value)


@retry_while_unavailable
def set_strength(server: TrackingServer, concept: str, version: str, choice: StrengthChoice) -> None:
    """Record the recommended strength of a version."""
    record = {name: getattr(choice, name) for name in ("value", "low", "high", "origin")}
    connect(server).set_model_version_tag(concept, version, STRENGTH_TAG, json.dumps(record))


def champions_trained_on(server: TrackingServer | None, data_version: str) -> list[str]:
    """Champions and previous champions trained on a data version, as ``CONCEPT@ALIAS (version N)``."""
    if server is None:
        return []
    client = connect(server)
    champions = []
    for model in client.search_registered_models(max_results=MAX_MODELS):
        for alias in PROTECTED_ALIASES:
            number = model.aliases.get(alias)
            if number and client.get_model_version(model.name, str(number)).tags.get("data.version") == data_version:
                champions.append(f"{model.name}@{alias} (version {number})")
    return sorted(champions)
