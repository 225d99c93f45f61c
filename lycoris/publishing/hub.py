"""Upload a publication to a repository of the Hugging Face hub, with the user's token."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lycoris.errors import InputError
from lycoris.publishing.folder import MANIFEST, check_new_names, file_names, published_files
from lycoris.safety.redaction import redact

if TYPE_CHECKING:
    from huggingface_hub import HfApi

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
"""``USER/NAME`` of a repository."""
_OWN_FILES = {".gitattributes"}
"""What the hub puts into a new repository."""


def open_hub(repository: str) -> HfApi:
    """The hub with the user's token, which must be valid.

    Args:
        repository: ``USER/NAME``.

    Raises:
        InputError: the name is no repository's, there is no token, or the hub does not accept it.
    """
    from huggingface_hub import HfApi, get_token

    if not HUB_NAME.fullmatch(repository):
        raise InputError(f"Option `--to` must be `hub:USER/NAME`, but got `hub:{repository}`.")
    token = get_token()
    if token is None:
        raise InputError("Uploading needs your token of the hub: run `hf auth login`, or set HF_TOKEN.")
    api = HfApi(token=token)
    with _hub_errors(repository):
        api.whoami()
    return api


def check_repository(api: HfApi, repository: str, concept: str) -> tuple[set[str], dict[str, str]]:
    """Check that a repository does not exist, is empty, or holds a publication of the same concept.

    Returns:
        The names of its files, and those of the publication that is replaced with their SHA-256.

    Raises:
        InputError: it holds something else or files that were changed since, or the hub cannot be asked.
    """
    with _hub_errors(repository):
        if not api.repo_exists(repository):
            return set(), {}
        names = set(api.list_repo_files(repository)) - _OWN_FILES
        with tempfile.TemporaryDirectory() as folder:
            if MANIFEST in names:  # adapter files are large, and nobody edits them
                api.snapshot_download(repository, local_dir=folder, ignore_patterns=["*.safetensors"])
            return names, published_files(Path(folder), names, concept, f"repository `{repository}`")


def upload(api: HfApi, repository: str, folder: Path, concept: str, message: str, *, public: bool) -> str:
    """Create a repository where there is none, and commit a publication to it.

    Args:
        folder: the complete publication.
        message: of the commit.
        public: whether everybody can see a new repository.

    Returns:
        The address of the commit.

    Raises:
        InputError: as for `check_repository`, or the hub does not accept it.
    """
    existing, published = check_repository(api, repository, concept)
    names = file_names(folder)
    check_new_names(names, existing, published, f"repository `{repository}`")
    outdated = [name for name in published if name not in names]
    with _hub_errors(repository):
        api.create_repo(repository, private=not public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=message, delete_patterns=outdated or None
        )
        return str(commit.commit_url)


@contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """State in one sentence why the hub refuses."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise InputError("The hub cannot be reached while HF_HUB_OFFLINE is set.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(redact(str(error)).split())
        raise InputError(f"The hub refuses repository `{repository}`, or cannot be reached: {reason}") from error
