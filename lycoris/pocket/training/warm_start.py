"""Where a training starts when it has no checkpoint: at the committed weights, so that any machine can go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from lycoris.pocket import BASE


def warm_start(module: nn.Module, folder: Path) -> bool:
    """Load the weights of a folder into a module of the same kind, in single precision.

    Args:
        module: of diffusers, of transformers, or plain.
        folder: in the layout of that library; nothing is done where it is missing or of another shape.

    Returns:
        Whether there were weights that fit.
    """
    files = list(folder.glob("*.safetensors"))
    if not files:
        return False
    if hasattr(module, "from_pretrained"):
        opener: Any = type(module)
        state = opener.from_pretrained(folder).state_dict()
    else:
        state = load_file(files[0])
    if {key: value.shape for key, value in state.items()} != {k: v.shape for k, v in module.state_dict().items()}:
        return False
    module.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    return True


def base_part_folder(work: Path, name: str) -> Path:
    """The folder of a part of the pipeline: as trained in the work folder, else as committed."""
    trained = work / "parts" / name
    return trained if trained.exists() else BASE / name
