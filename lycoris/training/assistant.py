"""An adapter that is on the base in training and not in generation, so that a distilled base keeps its few steps.

A base that was distilled to few steps unlearns them when it is trained on. A de-distillation adapter (ai-toolkit's
training adapter of FLUX.1 schnell and Z-Image Turbo) has unlearned them already: what is trained beside it learns the
concept alone, and acts on the base without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lycoris.adapters.loading import load
from lycoris.bases.files.file_kinds import WEIGHTS_SUFFIX, is_weights_file
from lycoris.bases.files.hub import download_snapshot, is_hub_name
from lycoris.cache.integrity import file_digest
from lycoris.errors import InputError

if TYPE_CHECKING:
    from lycoris.bases import Base
    from lycoris.training.config import TrainingSettings


def find_assistant(source: str) -> Path:
    """Locate an assistant's file.

    Args:
        source: a safetensors file, a hub name ``owner/model`` with one such file, or ``owner/model/file.safetensors``.

    Raises:
        InputError: there is no such file, or the model has several.
    """
    path = Path(source).expanduser()
    if path.is_file() and is_weights_file(path):
        return path
    owner, _, rest = source.partition("/")
    model, _, file = rest.partition("/")
    if path.exists() or not is_hub_name(f"{owner}/{model}"):
        raise InputError(
            f"Argument `assistant` must be a safetensors file or a hub name such as `owner/model`, but got `{source}`."
        )
    folder = download_snapshot(
        f"{owner}/{model}", [file or f"*{WEIGHTS_SUFFIX}"], f"Assistant `{source}` was not found."
    )
    files = sorted(folder.glob(file or f"*{WEIGHTS_SUFFIX}"))
    if len(files) != 1:
        names = ", ".join(each.name for each in files) or "none"
        raise InputError(
            f"Argument `assistant` must name one file, `{owner}/{model}/FILE`, but `{source}` has {names}."
        )
    return files[0]


def assistant_identity(source: str | None) -> dict[str, str]:
    """The SHA-256 of an assistant's file, by its name in the identity of a training; empty without one.

    Raises:
        InputError: as for `find_assistant`.
    """
    return {} if source is None else {"assistant": file_digest(find_assistant(source))}


@contextlib.contextmanager
def assisted(base: Base, settings: Sequence[TrainingSettings]) -> Iterator[None]:
    """Put the runs' assistant on the base's denoiser, and remove it on exit; it acts in all but generation.

    Raises:
        InputError: the runs have different ones, or its file does not fit the base.
    """
    sources = {config.assistant for config in settings}
    if len(sources) > 1:
        named = ", ".join(str(source) for source in sorted(sources, key=str))
        raise InputError(f"Argument `assistant` must be one for all jobs, but got {named}.")
    (source,) = sources
    if source is None:
        yield
        return
    network = load(find_assistant(source), {base.denoiser: base.parts[base.denoiser]})
    network.requires_grad_(False).eval()
    base.assistant = network
    try:
        yield
    finally:
        base.assistant = None
        network.detach()
