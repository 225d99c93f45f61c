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
from lycoris.errors import InputError, unknown
from lycoris.safety.redaction import redacted
from tasks.runtime.retry import patient
from tasks.tracking import runs
from tasks.tracking.runs import BEFORE, TAKEN_BACK, Server

STANDING = ("champion", "previous")
"""Aliases whose data must stay: what is in use, and what `rollback` goes to."""


@dataclass(frozen=True)
class Version:
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
    run: str | None
    data: str | None
    commit: str | None
    base: str | None
    base_digest: str | None
    algorithm: str | None
    captions: str | None
    seed: int | None
    settings: dict[str, Any]
    scores: dict[str, float | None]
    key: str | None
    file: str | None
    sha256: str | None
    reason: str | None


@patient
def read(place: Server, name: str) -> Version:
    """A version by ``CONCEPT``, ``CONCEPT@ALIAS`` or ``CONCEPT@NUMBER``; the champion if only the concept is named.

    Raises:
        InputError: there is none.
    """
    client = runs.registry(place)
    models = {model.name: model for model in client.search_registered_models(max_results=1000)}
    concept, _, which = (name, "", "") if name in models or "@" not in name else name.rpartition("@")
    which = which or "champion"
    if concept not in models:
        raise (
            unknown("concept", concept, models)
            if models
            else InputError(redacted(f"`{place.uri}` has no concept at all."))
        )
    versions = {str(each.version) for each in runs.versions(client, concept)}
    number = which if which.isdecimal() else models[concept].aliases.get(which)
    if number is None or str(number) not in versions:
        aliases = sorted(models[concept].aliases)
        raise InputError(
            f"Concept `{concept}` has no version `{which}`; it has the aliases {', '.join(aliases) or '(none)'} "
            f"and {len(versions)} versions."
        )
    return _version(client.get_model_version(concept, str(number)))


def champion(place: Server, concept: str) -> Version | None:
    """A concept's champion, or None where it has none."""
    client = runs.registry(place)
    found = runs.aliased(client, concept, "champion")
    return None if found is None else _version(client.get_model_version(concept, str(found.version)))


def _version(found: Any) -> Version:
    tags = found.tags
    seed = tags.get("seed")
    return Version(
        concept=found.name,
        version=str(found.version),
        aliases=tuple(sorted(found.aliases)),
        run=tags.get("run"),
        data=tags.get("data.version"),
        commit=tags.get("commit"),
        base=tags.get("base"),
        base_digest=tags.get("base.digest"),
        algorithm=tags.get("algorithm"),
        captions=tags.get("captions"),
        seed=None if seed is None else int(seed),
        settings=json.loads(tags.get("settings", "{}")),
        scores=json.loads(tags.get("scores", "{}")),
        key=tags.get("adapter.key"),
        file=tags.get("adapter.file"),
        sha256=tags.get("adapter.sha256"),
        reason=tags.get("champion.reason"),
    )


def lineage(version: Version) -> dict[str, Any]:
    """All of it as JSON can hold it."""
    return {**asdict(version), "aliases": list(version.aliases)}


def pull(place: Server, name: str, out: Path | None = None) -> tuple[Version, Path]:
    """Fetch the adapter file of a version; it appears whole or not at all.

    Args:
        place: of the registry.
        name: see `read`.
        out: the file to write; by default ``<CONCEPT>.safetensors`` here, unless that holds something else.

    Raises:
        InputError: there is no such version, its file is not the one registered, or `out` cannot be written.
    """
    version = read(place, name)
    if version.file is None:
        raise InputError(f"Version {version.version} of `{version.concept}` was not registered by this project.")
    target = Path(f"{version.concept}.safetensors") if out is None else Path(out)
    if out is None and target.exists() and file_digest(target) != version.sha256:
        raise InputError(f"`{target}` exists and is another file: name one with `--out FILE`.")
    with tempfile.TemporaryDirectory() as folder:
        fetched = runs.download(place, version.concept, version.version, Path(version.file).name, Path(folder))
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


@patient
def challenge(place: Server, concept: str, version: str) -> None:
    """Give a concept's version the alias `challenger`."""
    runs.registry(place).set_registered_model_alias(concept, "challenger", version)


@patient
def note(place: Server, version: Version, name: str, value: str) -> None:
    """Put a tag on a version."""
    runs.registry(place).set_model_version_tag(version.concept, version.version, name, value)


def rollback(
    place: Server, concept: str, to: str | None = None, reason: str = "rolled back"
) -> tuple[Version, Version]:
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
    client = runs.registry(place)
    now = read(place, concept)
    if now.concept != concept:
        raise InputError(f"Argument `concept` must be a concept's name, but got `{concept}`; name a version by `--to`.")
    target = to or client.get_model_version(concept, now.version).tags.get(BEFORE)
    if target is None or target == now.version:
        raise InputError(f"Concept `{concept}` has no champion before version {now.version}: name one with `--to`.")
    then = read(place, f"{concept}@{target}")
    if TAKEN_BACK in client.get_model_version(concept, then.version).tags:
        client.delete_model_version_tag(concept, then.version, TAKEN_BACK)
    client.set_model_version_tag(concept, now.version, TAKEN_BACK, reason)
    client.set_registered_model_alias(concept, "champion", then.version)
    earlier = client.get_model_version(concept, then.version).tags.get(BEFORE)
    if earlier is not None:
        client.set_registered_model_alias(concept, "previous", earlier)
    elif runs.aliased(client, concept, "previous") is not None:
        client.delete_registered_model_alias(concept, "previous")
    return now, read(place, f"{concept}@{then.version}")


def standing_on(place: Server | None, data: str) -> list[str]:
    """Which champions were trained on a data version, as ``CONCEPT@ALIAS (version N)``; previous ones count too."""
    if place is None:
        return []
    client = runs.registry(place)
    found = []
    for model in client.search_registered_models(max_results=1000):
        for alias in STANDING:
            number = model.aliases.get(alias)
            if number and client.get_model_version(model.name, str(number)).tags.get("data.version") == data:
                found.append(f"{model.name}@{alias} (version {number})")
    return sorted(found)
