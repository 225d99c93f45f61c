"""What a process does around a heavy step: its turn, threads, a GPU's slot, and the base it keeps open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from tasks.artifacts import Eyes, Place

LEASE = 60.0
"""Seconds after which a slot of a process that died is free; one that lives renews its lease."""
_turn = threading.Lock()


@contextmanager
def turn(place: Place, *, gpu: bool) -> Iterator[None]:
    """Do heavy work in the block: one thread of a process at a time, on a GPU only with a slot of the limit.

    The threads of a process share the base, to which a training attaches its network, torch's own random numbers,
    and what warnings are caught: none may see another's.

    Args:
        place: of the run.
        gpu: whether the work is done on a GPU where there is one.
    """
    import torch

    with _turn, _slot(place) if gpu else nullcontext():
        if torch.get_num_threads() != place.threads:
            torch.set_num_threads(place.threads)
        yield


def _slot(place: Place) -> Any:
    """A slot of the limit of GPUs: as many steps use one at a time, on all machines of one Prefect server."""
    import torch

    on_gpu = place.device == "cuda" or (place.device == "auto" and torch.cuda.is_available())
    if place.slot is None or not on_gpu:
        return nullcontext()
    from prefect.concurrency.sync import concurrency

    return concurrency(place.slot, occupy=1, lease_duration=LEASE, raise_on_lease_renewal_failure=False)


@lru_cache(maxsize=1)
def base(source: str, device: str) -> Any:
    """The base of a study, opened once a process and untouched between tasks."""
    from lycoris.bases import open_base

    return open_base(source, device=device)


@lru_cache(maxsize=8)
def encoder(source: str, device: str) -> Any:
    """A metric's image encoder, opened once a process."""
    from lycoris.encoders import open_encoder

    return open_encoder(source, device=device)


@lru_cache(maxsize=1)
def style_encoder(source: str, device: str) -> Any:
    """The style loss's encoder, opened once a process."""
    from lycoris.encoders import open_style_encoder

    return open_style_encoder(source, device=device)


@lru_cache(maxsize=1)
def tagger(eyes: Eyes, device: str) -> Any:
    """The tagger, opened once a process."""
    from lycoris.captions import open_tagger

    return open_tagger(eyes.source, device, dict(eyes.thresholds), eyes.vocabulary)


@lru_cache(maxsize=1)
def captioner(source: str, device: str) -> Any:
    """The captioner, opened once a process."""
    from lycoris.captions import open_captioner

    return open_captioner(source, device)


@lru_cache(maxsize=1)
def tokenizers(source: str) -> dict[str, Any]:
    """The tokenizers of a base by name, without the base: the first, and any other that its folder has."""
    from transformers import AutoTokenizer

    from lycoris.bases import tokenizer_of
    from lycoris.bases.files.diffusers_folder import find_base

    found = {"tokenizer": tokenizer_of(source)}
    for folder in sorted(find_base(source).glob("tokenizer_*/")):  # of a single file there is none
        found[folder.name] = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return found
