"""The aliases of a concept's versions: which is champion, which challenger, and why a version may not be champion."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from filelock import FileLock

from lycoris.errors import InputError
from tasks.runtime.retry import retry_while_unavailable
from tasks.tracking.client import TrackingServer, connect
from tasks.tracking.models import version_by_alias
from tasks.tracking.registry import NOT_PROMOTED_TAG, ModelVersion, get_version

PREVIOUS_CHAMPION_TAG = "champion.before"
"""Tag of a version: the champion that it replaced."""
REJECTED_TAG = "champion.taken_back"
"""Tag of a version: why a person rolled it back."""


@retry_while_unavailable
def set_challenger(server: TrackingServer, concept: str, version: str) -> None:
    """Give a concept's version the alias `challenger`."""
    connect(server).set_registered_model_alias(concept, "challenger", version)


@retry_while_unavailable
def refuse_promotion(server: TrackingServer, concept: str, version: str, reason: str) -> None:
    """Record with a version why it does not become champion although it is the best of its study."""
    connect(server).set_model_version_tag(concept, version, NOT_PROMOTED_TAG, reason)


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
        tags = client.get_model_version(concept, version).tags
        if REJECTED_TAG in tags:
            return False
        if NOT_PROMOTED_TAG in tags:
            client.delete_model_version_tag(concept, version, NOT_PROMOTED_TAG)
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
    for tag in (REJECTED_TAG, NOT_PROMOTED_TAG):
        if tag in client.get_model_version(concept, earlier.version).tags:
            client.delete_model_version_tag(concept, earlier.version, tag)
    client.set_model_version_tag(concept, current.version, REJECTED_TAG, reason)
    client.set_registered_model_alias(concept, "champion", earlier.version)
    previous = client.get_model_version(concept, earlier.version).tags.get(PREVIOUS_CHAMPION_TAG)
    if previous is not None:
        client.set_registered_model_alias(concept, "previous", previous)
    elif version_by_alias(client, concept, "previous") is not None:
        client.delete_registered_model_alias(concept, "previous")
    return current, get_version(server, f"{concept}@{earlier.version}")
