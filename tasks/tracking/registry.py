"""The model registry: read, download, promote and roll back versions, and find which data champions depend on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from lycoris.cache.atomic import atomic_write
from lycoris.cache.integrity import file_digest
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.redaction import redact
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking.adapter_record import LINEAGE_TAG
from tasks.tracking.client import TrackingServer, connect
from tasks.tracking.models import download_file, list_versions, version_by_alias

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

PREVIOUS_CHAMPION_TAG = "champion.before"
"""Tag of a version: the champion that it replaced."""
REJECTED_TAG = "champion.taken_back"
"""Tag of a version: why a person rolled it back."""
PROTECTED_ALIASES = ("champion", "previous")
"""Aliases whose data must not be removed: the version in use, and the one that `rollback` returns to."""
MAX_MODELS = 1000
_TEXT_TAGS = {
    "run_id": "run", "data_version": "data.version", "commit": "commit", "base": "base", "base_digest": "base.digest",
    "algorithm": "algorithm", "strategy": "captions", "artifact_key": "adapter.key", "file_name": "adapter.file",
    "sha256": "adapter.sha256", "reason": "champion.reason",
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
        raise InputError(
            f"Concept `{concept}` has no version `{suffix}`; it has the aliases {', '.join(aliases) or '(none)'} "
            f"and {len(versions)} versions."
        )
    return _from_mlflow(client.get_model_version(concept, str(number)))


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
        **{field: tags.get(tag) for field, tag in _TEXT_TAGS.items()},
    )


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


def lineage(version: ModelVersion) -> dict[str, Any]:
    """A version as JSON values, under the names that ``--json`` prints."""
    values = {**asdict(version), "aliases": list(version.aliases)}
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
def set_challenger(server: TrackingServer, concept: str, version: str) -> None:
    """Give a concept's version the alias `challenger`."""
    connect(server).set_registered_model_alias(concept, "challenger", version)


@retry_while_unavailable
def set_version_tag(server: TrackingServer, version: ModelVersion, name: str, value: str) -> None:
    """Set a tag of a version."""
    connect(server).set_model_version_tag(version.concept, version.version, name, value)


def promote_to_champion(server: TrackingServer, concept: str, version: str, reason: str) -> bool:
    """Give a concept's version the alias `champion`, and the previous champion the alias `previous`.

    Returns:
        False, and nothing is changed, if a person has rejected this version before.
    """
    client = connect(server)
    with _promotion_lock(server, concept):
        champion = version_by_alias(client, concept, "champion")
        if champion is not None and str(champion.version) == version:
            return True
        if REJECTED_TAG in client.get_model_version(concept, version).tags:
            return False
        client.set_model_version_tag(concept, version, "champion.reason", reason)
        if champion is not None:
            client.set_model_version_tag(concept, version, PREVIOUS_CHAMPION_TAG, champion.version)
            client.set_registered_model_alias(concept, "previous", champion.version)
        client.set_registered_model_alias(concept, "champion", version)
        return True


def _promotion_lock(server: TrackingServer, concept: str) -> FileLock:
    """A lock among the processes of this machine's user: a promotion reads aliases and then moves them."""
    name = hashlib.sha256(f"{server.uri}\0{concept}".encode()).hexdigest()[:16]
    return FileLock(Path(tempfile.gettempdir()) / f"lycoris-promotion-{os.getuid()}-{name}.lock")


def rollback(
    server: TrackingServer, concept: str, to: str | None = None, reason: str = "rolled back"
) -> tuple[ModelVersion, ModelVersion]:
    """Make an earlier version champion again; later runs do not promote the rejected one.

    Args:
        to: number of a version; default: the champion before this one, and so on back with each call.
        reason: stored with the version that is rejected.

    Returns:
        The champion before and after.

    Raises:
        InputError: there is no champion, no earlier one, or no such version.
    """
    client = connect(server)
    current = get_version(server, concept)
    if current.concept != concept:
        raise InputError(
            f"Argument `concept` must be the name of a concept, but got `{concept}`; name a version with `--to`."
        )
    target = to or client.get_model_version(concept, current.version).tags.get(PREVIOUS_CHAMPION_TAG)
    if target is None or target == current.version:
        raise InputError(f"Concept `{concept}` has no champion before version {current.version}: name one with `--to`.")
    earlier = get_version(server, f"{concept}@{target}")
    if REJECTED_TAG in client.get_model_version(concept, earlier.version).tags:
        client.delete_model_version_tag(concept, earlier.version, REJECTED_TAG)
    client.set_model_version_tag(concept, current.version, REJECTED_TAG, reason)
    client.set_registered_model_alias(concept, "champion", earlier.version)
    previous = client.get_model_version(concept, earlier.version).tags.get(PREVIOUS_CHAMPION_TAG)
    if previous is not None:
        client.set_registered_model_alias(concept, "previous", previous)
    elif version_by_alias(client, concept, "previous") is not None:
        client.delete_registered_model_alias(concept, "previous")
    return current, get_version(server, f"{concept}@{earlier.version}")


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
