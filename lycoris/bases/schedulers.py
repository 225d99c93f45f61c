"""Samplers of diffusers by name, set up with a base's noise schedule."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from lycoris.errors import InputError, unknown_name_error

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++-2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpm++-2m-karras": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True},
    ),
    "unipc": ("UniPCMultistepScheduler", {}),
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "flow-heun": ("FlowMatchHeunDiscreteScheduler", {}),
}
"""Samplers by name: the diffusers class, and its settings in addition to the base's own configuration."""


def is_flow_matching(config: Mapping[str, Any]) -> bool:
    """Whether a scheduler configuration is of a flow-matching base."""
    is_flow_scheduler = str(config.get("_class_name", "")).startswith("FlowMatch")
    return (
        is_flow_scheduler or bool(config.get("use_flow_sigmas")) or config.get("prediction_type") == "flow_prediction"
    )


def build_scheduler(config: Mapping[str, Any], name: str | None = None) -> Any:
    """Build a diffusers scheduler with a base's noise schedule.

    Args:
        config: the schedule as the base's files state it.
        name: a key of `SCHEDULERS` or the name of a scheduler class of diffusers; defaults to ``"ddim"``, or for a
            flow-matching base to its own class.

    Raises:
        InputError: there is no such scheduler, or it does not fit the base. A flow-matching base needs a flow-matching
            scheduler, other bases need one of the other kind, and a base that was trained to start at pure noise
            needs one that can.
    """
    flow = is_flow_matching(config)
    own_name = str(config.get("_class_name", "FlowMatchEulerDiscreteScheduler"))
    name = name or (own_name if flow else "ddim")
    scheduler_class, settings = _resolve_scheduler(name)
    # Some schedulers of other bases have a flow mode, which a flow-matching base may state for its own class.
    if flow and scheduler_class.__name__ == own_name:
        return scheduler_class.from_config(dict(config), **settings)
    if flow != scheduler_class.__name__.startswith("FlowMatch"):
        wanted = "a flow-matching one, such as `flow-euler`," if flow else "one for noise prediction, such as `ddim`,"
        raise InputError(f"Argument `scheduler` must be {wanted} to fit the base, but got `{name}`.")
    if flow:
        shift = config.get("shift", config.get("flow_shift", 1.0))
        return scheduler_class.from_config({**config, "shift": shift}, **settings)
    accepted = inspect.signature(scheduler_class.__init__).parameters
    if not {"beta_schedule", "prediction_type"} <= set(accepted) or "Inverse" in scheduler_class.__name__:
        raise InputError(f"Argument `scheduler` must be one that samples with a schedule of betas, but got `{name}`.")
    if config.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in accepted:
        raise InputError(
            "Argument `scheduler` must be one that starts at pure noise, such as `ddim`, since the base was trained "
            f"with `rescale_betas_zero_snr`, but got `{name}`."
        )
    # Latents have no fixed range: clipping them, the default of some schedulers, is for pixel models.
    return scheduler_class.from_config({**config, "clip_sample": False}, **settings)


def _resolve_scheduler(name: str) -> tuple[Any, dict[str, Any]]:
    """Find the diffusers class of a scheduler, and its settings in addition to the base's configuration."""
    import diffusers

    class_name, settings = SCHEDULERS.get(name, (name, {}))
    scheduler_class = getattr(diffusers, class_name, None) if class_name.endswith("Scheduler") else None
    if scheduler_class is None:
        raise unknown_name_error("scheduler", name, SCHEDULERS)
    if not issubclass(scheduler_class, diffusers.SchedulerMixin):
        raise InputError(f"Scheduler `{name}` cannot be used here: {_unusable_reason(scheduler_class)}")
    return scheduler_class, settings


def _unusable_reason(scheduler_class: Any) -> str:
    try:
        scheduler_class()
    except ImportError as error:
        return " ".join(str(error).split())
    return "it is not a PyTorch scheduler of diffusers."
