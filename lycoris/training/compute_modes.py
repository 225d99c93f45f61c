"""Compute modes of a base during training: gradient checkpointing and compilation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from lycoris.errors import InputError
from lycoris.training.requirements import check_compile_backend

if TYPE_CHECKING:
    from torch import nn

    from lycoris.bases import Base
    from lycoris.training.config import TrainingSettings
    from lycoris.training.job import Trainable


@contextlib.contextmanager
def compute_modes(base: Base, networks: Sequence[Trainable], settings: Sequence[TrainingSettings]) -> Iterator[None]:
    """Set the base's parts up as the runs' settings require, and restore them on exit.

    Co-trained runs share this: what one requires applies to all. It changes no result.

    Raises:
        InputError: a backend of `torch.compile` is unknown, or the runs name two different ones.
    """
    backends = sorted({config.compile for config in settings if config.compile is not None})
    if len(backends) > 1:
        raise InputError(f"Argument `compile` must be one for all jobs, but got {', '.join(backends)}.")
    with contextlib.ExitStack() as stack:
        for name, part in base.parts.items():
            if any(config.gradient_checkpointing for config in settings):
                stack.enter_context(_checkpoint_part(part, networks))
            if backends and name == base.denoiser:
                stack.enter_context(_compile_part(part, backends[0]))
        yield


@contextlib.contextmanager
def _compile_part(part: nn.Module, backend: str) -> Iterator[None]:
    check_compile_backend(backend, next(part.parameters()).device)
    part.forward = torch.compile(part.forward, backend=backend)
    try:
        yield
    finally:
        del part.forward


@contextlib.contextmanager
def _checkpoint_part(part: Any, networks: Sequence[Trainable]) -> Iterator[None]:
    """Turn on gradient checkpointing (Chen et al., "Training Deep Nets with Sublinear Memory Cost") in a part."""
    from diffusers.models.modeling_utils import ModelMixin
    from transformers.modeling_layers import GradientCheckpointingLayer

    def contexts() -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
        states = [_network_state(network) for network in networks]
        return contextlib.nullcontext(), _replay_states(networks, states, _get_current_function_mode_stack())

    options: dict[str, Any] = {"use_reentrant": False, "context_fn": contexts}
    if isinstance(part, ModelMixin):
        part.enable_gradient_checkpointing(lambda block, *inputs: checkpoint(block, *inputs, **options))
        layers = []
    else:
        part.activation_checkpointing_enable(options)
        # These layers checkpoint only in training mode, which would also turn their dropout on.
        layers = [layer for layer in part.modules() if isinstance(layer, GradientCheckpointingLayer)]
    modes = [layer.training for layer in layers]
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
        if isinstance(part, ModelMixin):
            part.disable_gradient_checkpointing()
        else:
            part.activation_checkpointing_disable()


def _network_state(network: Trainable) -> tuple[Any, ...]:
    """State that a network's output depends on in addition to its input and parameters."""
    share = network.batch_partition
    return network.timestep, *((share.rows, share.total_rows, share.rng_state) if share is not None else ())


@contextlib.contextmanager
def _replay_states(
    networks: Sequence[Trainable], states: Sequence[tuple[Any, ...]], modes: Sequence[TorchFunctionMode]
) -> Iterator[None]:
    """Put the networks in the state of the forward pass, so that recomputation gives the same values.

    The modes that intercepted PyTorch's functions in it, such as a plan's, are off during `Tensor.backward`, which is
    itself such a function, and are entered again.
    """
    now = [_network_state(network) for network in networks]
    _set_states(networks, states)
    try:
        with contextlib.ExitStack() as stack:
            for mode in modes:
                stack.enter_context(mode)
            yield
    finally:
        _set_states(networks, now)


def _set_states(networks: Sequence[Trainable], states: Sequence[tuple[Any, ...]]) -> None:
    for network, (timestep, *shared) in zip(networks, states, strict=True):
        if network.timestep is not timestep:
            network.timestep = timestep
        if network.batch_partition is not None:
            network.batch_partition.rows, network.batch_partition.total_rows, network.batch_partition.rng_state = shared
