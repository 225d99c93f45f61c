"""What is done with registered versions: told, fetched, taken back, and asked which data they stand on."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lycoris.cache.store import file_digest
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.redaction import redact
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking import runs
from tasks.tracking.runs import PREVIOUS_CHAMPION_TAG, REJECTED_TAG, TrackingServer

PROTECTED_ALIASES = ("champion", "previous")
"""Aliases whose data must stay: what is in use, and what `rollback` goes to."""


@dataclass(frozen=True)
class ModelVersion:
    """A registered version with where it comes from.

    Attributes:
        concept: the model's name.
        version: its number.
        aliases: that it has now.
        run: of its training in MLflow.
        data: hash of the data version it was trained on.
        commit: of the code.
        base: source, with the hash of its files in `base_digest`.
        algorithm: its label; `captions` and `seed` are the others of its cell.
        settings: everything that decided the training.
        scores: name -> value.
        key: of the training's stage.
        file: name of the adapter file, with its SHA-256 in `sha256`.
        reason: why it became champion, None if it never did.
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
        InputError: there is none.
    """
    client = runs.registry_client(server)
    models = {model.name: model for model in client.search_registered_models(max_results=1000)}
    concept, _, which = (name, "", "") if name in models or "@" not in name else name.rpartition("@")
    which = which or "champion"
    if concept not in models:
        raise (
            unknown_name_error("concept", concept, models)
            if models
            else InputError(redact(f"`{server.uri}` has no concept at all."))
        )
    versions = {str(each.version) for each in runs.list_versions(client, concept)}
    number = which if which.isdecimal() else models[concept].aliases.get(which)
    if number is None or str(number) not in versions:
        aliases = sorted(models[concept].aliases)
        raise InputError(
            f"Concept `{concept}` has no version `{which}`; it has the aliases {', '.join(aliases) or '(none)'} "
            f"and {len(versions)} versions."
        )
    return _from_mlflow(client.get_model_version(concept, str(number)))


def get_champion(server: TrackingServer, concept: str) -> ModelVersion | None:
    """A concept's champion, or None where it has none."""
    client = runs.registry_client(server)
    found = runs.version_by_alias(client, concept, "champion")
    return None if found is None else _from_mlflow(client.get_model_version(concept, str(found.version)))


def _from_mlflow(found: Any) -> ModelVersion:
    tags = found.tags
    seed = tags.get("seed")
    return ModelVersion(
        concept=found.name,
        version=str(found.version),
        aliases=tuple(sorted(found.aliases)),
        run_id=tags.get("run"),
        data_version=tags.get("data.version"),
        commit=tags.get("commit"),
        base=tags.get("base"),
        base_digest=tags.get("base.digest"),
        algorithm=tags.get("algorithm"),
        strategy=tags.get("captions"),
        seed=None if seed is None else int(seed),
        settings=json.loads(tags.get("settings", "{}")),
        scores=json.loads(tags.get("scores", "{}")),
        artifact_key=tags.get("adapter.key"),
        file_name=tags.get("adapter.file"),
        sha256=tags.get("adapter.sha256"),
        reason=tags.get("champion.reason"),
    )


def lineage(version: ModelVersion) -> dict[str, Any]:
    """All of it as JSON can hold it."""
    return {**asdict(version), "aliases": list(version.aliases)}


def pull(server: TrackingServer, name: str, out: Path | None = None) -> tuple[ModelVersion, Path]:
    """Fetch the adapter file of a version; it appears whole or not at all.

    Args:
        place: of the registry.
        name: see `read`.
        out: the file to write; by default ``<CONCEPT>.safetensors`` here, unless that holds something else.

    Raises:
        InputError: there is no such version, its file is not the one registered, or `out` cannot be written.
    """
    version = get_version(server, name)
    if version.file_name is None:
        raise InputError(f"Version {version.version} of `{version.concept}` was not registered by this project.")
    target = Path(f"{version.concept}.safetensors") if out is None else Path(out)
    if out is None and target.exists() and file_digest(target) != version.sha256:
        raise InputError(f"`{target}` exists and is another file: name one with `--out FILE`.")
    with tempfile.TemporaryDirectory() as folder:
        fetched = runs.download_file(
            server, version.concept, version.version, Path(version.file_name).name, Path(folder)
        )
        digest = file_digest(fetched) if fetched.is_file() else "that of no file"
        if digest != version.sha256:
            raise InputError(
                f"The registry's file of version {version.version} of `{version.concept}` is not the one registered: "
                f"its SHA-256 must be {version.sha256}, but is {digest}."
            )
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = target.with_name(f".{os.getpid()}-{target.name}")
            shutil.copyfile(fetched, aside)
            os.replace(aside, target)
        except OSError as error:
            raise InputError(f"`{target}` cannot be written: {error.strerror or error}.") from error
    return version, target


@retry_while_unavailable
def set_challenger(server: TrackingServer, concept: str, version: str) -> None:
    """Give a concept's version the alias `challenger`."""
    runs.registry_client(server).set_registered_model_alias(concept, "challenger", version)


@retry_while_unavailable
def set_version_tag(server: TrackingServer, version: ModelVersion, name: str, value: str) -> None:
    """Put a tag on a version."""
    runs.registry_client(server).set_model_version_tag(version.concept, version.version, name, value)


def rollback(
    server: TrackingServer, concept: str, to: str | None = None, reason: str = "rolled back"
) -> tuple[ModelVersion, ModelVersion]:
    """Make an earlier version champion again; the one taken back is not crowned again by a later run.

    Args:
        place: of the registry.
        concept: its name.
        to: a version's number; by default the champion before this one, and so on back with each call.
        reason: kept with the version that is taken back.

    Returns:
        The champion that was, and the one that is now.

    Raises:
        InputError: there is no champion, no earlier one, or no such version.
    """
    client = runs.registry_client(server)
    now = get_version(server, concept)
    if now.concept != concept:
        raise InputError(f"Argument `concept` must be a concept's name, but got `{concept}`; name a version by `--to`.")
    target = to or client.get_model_version(concept, now.version).tags.get(PREVIOUS_CHAMPION_TAG)
    if target is None or target == now.version:
        raise InputError(f"Concept `{concept}` has no champion before version {now.version}: name one with `--to`.")
    then = get_version(server, f"{concept}@{target}")
    if REJECTED_TAG in client.get_model_version(concept, then.version).tags:
        client.delete_model_version_tag(concept, then.version, REJECTED_TAG)
    client.set_model_version_tag(concept, now.version, REJECTED_TAG, reason)
    client.set_registered_model_alias(concept, "champion", then.version)
    earlier = client.get_model_version(concept, then.version).tags.get(PREVIOUS_CHAMPION_TAG)
    if earlier is not None:
        client.set_registered_model_alias(concept, "previous", earlier)
    elif runs.version_by_alias(client, concept, "previous") is not None:
        client.delete_registered_model_alias(concept, "previous")
    return now, get_version(server, f"{concept}@{then.version}")


def champions_trained_on(server: TrackingServer | None, data: str) -> list[str]:
    """Which champions were trained on a data version, as ``CONCEPT@ALIAS (version N)``; previous ones count too."""
    if server is None:
        return []
    client = runs.registry_client(server)
    found = []
    for model in client.search_registered_models(max_results=1000):
        for alias in PROTECTED_ALIASES:
            number = model.aliases.get(alias)
            if number and client.get_model_version(model.name, str(number)).tags.get("data.version") == data:
                found.append(f"{model.name}@{alias} (version {number})")
    return sorted(found)
