"""What settings need of the base, the machine and the images, checked before a model is opened."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import torch

from lycoris.bases.flow_matching import FlowMatching
from lycoris.bases.noise import DiscreteDiffusion
from lycoris.errors import InputError, unknown_name_error
from lycoris.training.assistant import find_assistant
from lycoris.training.optim.optimizer_step import build_optimizer, check_optimizer_device
from lycoris.training.optim.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from lycoris.bases import ForwardProcess
    from lycoris.training.config import TrainingSettings


def check_requirements(settings: TrainingSettings, forward_process: ForwardProcess, device: torch.device) -> None:
    """Check that a training with these settings can start on this machine, without opening a model.

    Args:
        settings: settings of the run.
        forward_process: the base's, as `lycoris.bases.load_forward_process` reads it.
        device: where the base will be.

    Raises:
        InputError: the optimizer is not available or rejects its settings, the backend of `compile` is not available,
            there is no such assistant, or the loss does not fit the base.
    """
    check_optimizer_device(settings.optimizer, device)
    if OPTIMIZERS[settings.optimizer].cuda_only:
        OPTIMIZERS[settings.optimizer].load_class()
    else:
        parameter = torch.nn.Parameter(torch.zeros(2, 2))
        lr = settings.learning_rate
        build_optimizer([{"params": [parameter], "lr": lr, "base_lr": lr}], settings)
    if settings.compile is not None:
        check_compile_backend(settings.compile, device)
    if settings.assistant is not None:
        find_assistant(settings.assistant)
    resolve_forward_process(forward_process, settings)


def resolve_forward_process(forward_process: ForwardProcess, settings: TrainingSettings) -> ForwardProcess:
    """Return the forward process of a run: the base's, or its variant that ends at pure noise.

    Raises:
        InputError: the settings do not fit it.
    """
    if settings.zero_terminal_snr:
        if not isinstance(forward_process, DiscreteDiffusion):
            raise InputError(
                "Argument `zero_terminal_snr` is for bases with a schedule of betas; a flow-matching base ends at "
                "pure noise by itself and needs False, but got True."
            )
        forward_process = forward_process.zero_terminal_snr()
    given = {
        "timestep_density": settings.timestep_density,
        "timestep_shift": settings.timestep_shift,
    }
    if isinstance(forward_process, FlowMatching):
        forward_process = forward_process.with_times(
            settings.timestep_density, settings.timestep_density_options, settings.timestep_shift
        )
    elif named := [f"`{name}`" for name, value in given.items() if value is not None]:
        raise InputError(
            f"Settings {' and '.join(named)} are for flow-matching bases, but the base predicts "
            f"{forward_process.prediction_type} from uniform timesteps."
        )
    # Weights that the process does not have are refused now and not at the first step.
    if settings.min_snr is not None:
        forward_process.min_snr_weight(torch.zeros(1, dtype=torch.long), settings.min_snr)
    if settings.loss_weighting is not None:
        forward_process.loss_weight(torch.zeros(1, dtype=torch.long), settings.loss_weighting)
    return forward_process


def check_compile_backend(backend: str, device: torch.device) -> None:
    """Check that a backend of `torch.compile` exists and that this machine has what it compiles with.

    Raises:
        InputError: the backend is unknown, or there is no C++ compiler (CPU) or no Triton (GPU) for ``"inductor"``.
    """
    backends = torch.compiler.list_backends(exclude_tags=())
    if backend not in backends:
        raise unknown_name_error("backend of `compile`", backend, backends)
    if backend != "inductor":
        return
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise InputError("Argument `compile` is `inductor`, which needs Triton on a GPU: `pip install triton`.")
        return
    builder = importlib.import_module("torch._inductor.cpp_builder")
    try:
        builder.get_cpp_compiler()
    except Exception as error:  # torch wraps it in errors of its own, which differ between versions
        raise InputError(
            "Argument `compile` is `inductor`, which needs a C++ compiler on a CPU, such as g++, but none was found."
        ) from error
