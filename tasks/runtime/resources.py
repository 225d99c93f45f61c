"""What a process does around a heavy step: its turn, threads, a GPU's slot, and the base it keeps open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from tasks.artifacts import RunContext, TaggerRef

LEASE_SECONDS = 60.0
"""Seconds after which a slot of a process that died is free; one that lives renews its lease."""
_compute_lock = threading.Lock()


@contextmanager
def exclusive_compute(context: RunContext, *, gpu: bool) -> Iterator[None]:
    """Do heavy work in the block: one thread of a process at a time, on a GPU only with a slot of the limit.

    The threads of a process share the base, to which a training attaches its network, torch's own random numbers,
    and what warnings are caught: none may see another's.

    Args:
        place: of the run.
        gpu: whether the work is done on a GPU where there is one.
    """
    import torch

    with _compute_lock, _gpu_slot(context) if gpu else nullcontext():
        if torch.get_num_threads() != context.threads:
            torch.set_num_threads(context.threads)
        yield


def _gpu_slot(context: RunContext) -> Any:
    """A slot of the limit of GPUs: as many steps use one at a time, on all machines of one Prefect server."""
    import torch

    on_gpu = context.device == "cuda" or (context.device == "auto" and torch.cuda.is_available())
    if context.gpu_limit is None or not on_gpu:
        return nullcontext()
    from prefect.concurrency.sync import concurrency

    return concurrency(context.gpu_limit, occupy=1, lease_duration=LEASE_SECONDS, raise_on_lease_renewal_failure=False)


@lru_cache(maxsize=1)
def cached_base(source: str, device: str) -> Any:
    """The base of a study, opened once a process and untouched between tasks."""
    from lycoris.bases import open_base

    return open_base(source, device=device)


@lru_cache(maxsize=8)
def cached_encoder(source: str, device: str) -> Any:
    """A metric's image encoder, opened once a process."""
    from lycoris.encoders import open_encoder

    return open_encoder(source, device=device)


@lru_cache(maxsize=1)
def cached_style_encoder(source: str, device: str) -> Any:
    """The style loss's encoder, opened once a process."""
    from lycoris.encoders import open_style_encoder

    return open_style_encoder(source, device=device)


@lru_cache(maxsize=1)
def cached_tagger(reference: TaggerRef, device: str) -> Any:
    """The tagger, opened once a process."""
    from lycoris.captions import open_tagger

    return open_tagger(reference.source, device, dict(reference.thresholds), reference.vocabulary)


@lru_cache(maxsize=1)
def cached_captioner(source: str, device: str) -> Any:
    """The captioner, opened once a process."""
    from lycoris.captions import open_captioner

    return open_captioner(source, device)


@lru_cache(maxsize=1)
def cached_tokenizers(source: str) -> dict[str, Any]:
    """The tokenizers of a base by name, without the base: the first, and any other that its folder has."""
    from transformers import AutoTokenizer

    from lycoris.bases import load_tokenizer
    from lycoris.bases.files.diffusers_folder import find_base

    found = {"tokenizer": load_tokenizer(source)}
    for folder in sorted(find_base(source).glob("tokenizer_*/")):  # of a single file there is none
        found[folder.name] = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return found
