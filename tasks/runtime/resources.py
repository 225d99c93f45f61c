"""Compute resources of a process: its lock and threads, a GPU's concurrency limit, and models that stay loaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from tasks.artifacts import BaseOptions, CaptionerRef, ModelRef, RunContext, TaggerRef
from tasks.runtime import finished

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from lycoris.bases import Base
    from lycoris.captions import Captioner, Tagger
    from lycoris.encoders import Encoder, StyleEncoder

LEASE_SECONDS = 60.0
"""Seconds after which the GPU slot of a dead process is free; a running one renews its lease."""
_compute_lock = threading.Lock()


@contextmanager
def exclusive_compute(context: RunContext, *, gpu: bool) -> Iterator[None]:
    """Allow one thread of this process at a time into the block, on a GPU only with a slot of the limit.

    The threads of a process share the base, to which a training attaches its network, torch's global random numbers,
    and Python's warning filters, so none may run while another does.

    Args:
        gpu: whether the work is done on a GPU where there is one.

    Raises:
        NotFinishedError: this is a search for finished work.
    """
    finished.stop_search()
    import torch

    with _compute_lock, _gpu_slot(context) if gpu else nullcontext():
        if torch.get_num_threads() != context.threads:
            torch.set_num_threads(context.threads)
        yield


def _gpu_slot(context: RunContext) -> AbstractContextManager[Any]:
    """A slot of the concurrency limit, which all machines of a Prefect server share."""
    import torch

    on_gpu = context.device == "cuda" or (context.device == "auto" and torch.cuda.is_available())
    if context.gpu_limit is None or not on_gpu:
        return nullcontext()
    from prefect.concurrency.sync import concurrency

    return concurrency(context.gpu_limit, occupy=1, lease_duration=LEASE_SECONDS, raise_on_lease_renewal_failure=False)


def cached_base(context: RunContext, reference: ModelRef) -> Base:
    """The base of a study; every task leaves it as it was.

    Where models are on the device only while they work, those of captions and scores are closed before.
    """
    if context.offload:
        for cache in (cached_encoder, cached_style_encoder, cached_tagger, cached_captioner):
            cache.cache_clear()
    return _open_base(reference.source, context.device, reference.options, context.offload)


def park_base(context: RunContext) -> None:
    """Move the base off the device for another model, where models are there only while they work."""
    for base in _opened_bases if context.offload else ():
        base.residency.park()


_opened_bases: WeakSet[Base] = WeakSet()


@lru_cache(maxsize=1)
def _open_base(source: str, device: str, options: BaseOptions, offload: bool) -> Base:
    from lycoris.bases import open_base

    base = open_base(source, device=device, offload=offload, **options.for_base)
    _opened_bases.add(base)
    return base


@lru_cache(maxsize=8)
def cached_encoder(source: str, device: str) -> Encoder:
    """An image encoder of the metrics."""
    from lycoris.encoders import open_encoder

    return open_encoder(source, device=device)


@lru_cache(maxsize=1)
def cached_style_encoder(source: str, device: str) -> StyleEncoder:
    """The encoder of the style losses."""
    from lycoris.encoders import open_style_encoder

    return open_style_encoder(source, device=device)


@lru_cache(maxsize=1)
def cached_tagger(reference: TaggerRef, device: str) -> Tagger:
    """The tagger."""
    from lycoris.captions import open_tagger

    return open_tagger(reference.source, device, dict(reference.thresholds), reference.vocabulary)


@lru_cache(maxsize=1)
def cached_captioner(reference: CaptionerRef, device: str) -> Captioner:
    """The captioner."""
    from lycoris.captions import open_captioner

    return open_captioner(reference.source, device, reference.instruction)


@lru_cache(maxsize=1)
def cached_tokenizers(
    source: str,
    options: BaseOptions = BaseOptions(),  # noqa: B008 - frozen
) -> dict[str, PreTrainedTokenizerBase]:
    """The tokenizers of a base by name, without its weights: the first, and any others that its folder has."""
    from transformers import AutoTokenizer

    from lycoris.bases import load_tokenizer
    from lycoris.bases.files.diffusers_folder import find_base

    tokenizers = {"tokenizer": load_tokenizer(source, **options.for_tokenizer)}
    for folder in sorted(find_base(source).glob("tokenizer_*/")):  # a single file has none
        tokenizers[folder.name] = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizers
