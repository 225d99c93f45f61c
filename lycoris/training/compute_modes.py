"""How a base computes while it is trained on: inner values kept or computed again, layers as they are or compiled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from lycoris.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import nn

    from lycoris.bases import Base
    from lycoris.training.config import TrainingSettings
    from lycoris.training.training_run import Trainable

DENOISERS = ("unet", "transformer")


@contextlib.contextmanager
def modes(base: Base, networks: Sequence[Trainable], settings: Sequence[TrainingSettings]) -> Iterator[None]:
    """Within it the base's parts compute as the runs' settings ask; afterwards as before.

    Runs that share a base share this: what one asks for, the others have too; it changes no result.

    Raises:
        InputError: an unknown backend of `torch.compile`, or two different ones.
    """
    backends = sorted({each.compile for each in settings if each.compile is not None})
    if len(backends) > 1:
        raise InputError(f"Argument `compile` must be one for all jobs, but got {', '.join(backends)}.")
    with contextlib.ExitStack() as stack:
        for name, part in base.parts.items():
            if any(each.gradient_checkpointing for each in settings):
                stack.enter_context(_checkpointed(part, networks))
            if backends and name in DENOISERS:
                stack.enter_context(_compiled(part, backends[0]))
        yield


@contextlib.contextmanager
def _compiled(part: nn.Module, backend: str) -> Iterator[None]:
    known = torch.compiler.list_backends(exclude_tags=())
    if backend not in known:
        raise unknown("backend of `compile`", backend, known)
    part.forward = torch.compile(part.forward, backend=backend)
    try:
        yield
    finally:
        del part.forward


@contextlib.contextmanager
def _checkpointed(part: Any, networks: Sequence[Trainable]) -> Iterator[None]:
    """Chen et al., "Training Deep Nets with Sublinear Memory Cost", by the switch that the part's library has."""
    from diffusers.models.modeling_utils import ModelMixin
    from transformers.modeling_layers import GradientCheckpointingLayer

    def contexts() -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
        return contextlib.nullcontext(), _again(networks, [_moment(network) for network in networks])

    how: dict[str, Any] = {"use_reentrant": False, "context_fn": contexts}
    if isinstance(part, ModelMixin):
        part.enable_gradient_checkpointing(lambda block, *inputs: checkpoint(block, *inputs, **how))
        layers = []
    else:
        part.activation_checkpointing_enable(how)
        # They look whether they are in training mode, which their dropout must not be.
        layers = [layer for layer in part.modules() if isinstance(layer, GradientCheckpointingLayer)]
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer, mode in zip(layers, before, strict=True):
            layer.training = mode
        if isinstance(part, ModelMixin):
            part.disable_gradient_checkpointing()
        else:
            part.activation_checkpointing_disable()


def _moment(network: Trainable) -> tuple[Any, ...]:
    """What a network's output depends on besides its input and parameters."""
    share = network.share
    return network.timestep, *((share.rows, share.total, share.state) if share is not None else ())


@contextlib.contextmanager
def _again(networks: Sequence[Trainable], then: Sequence[tuple[Any, ...]]) -> Iterator[None]:
    """The networks as they were in the forward pass, for the same values to come out."""
    now = [_moment(network) for network in networks]
    _put(networks, then)
    try:
        yield
    finally:
        _put(networks, now)


def _put(networks: Sequence[Trainable], moments: Sequence[tuple[Any, ...]]) -> None:
    for network, (timestep, *shared) in zip(networks, moments, strict=True):
        if network.timestep is not timestep:
            network.timestep = timestep
        if network.share is not None:
            network.share.rows, network.share.total, network.share.state = shared
