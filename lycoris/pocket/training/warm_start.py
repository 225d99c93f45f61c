"""Initial weights of a training without a checkpoint: the committed ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from lycoris.pocket import BASE


def warm_start(module: nn.Module, folder: Path) -> bool:
    """Load the weights of a folder into a module in single precision.

    Args:
        module: a diffusers, transformers or plain PyTorch module.
        folder: saved by the same library; ignored if it is missing or its tensors have other names or shapes.

    Returns:
        Whether weights were loaded.
    """
    files = list(folder.glob("*.safetensors"))
    if not files:
        return False
    if hasattr(module, "from_pretrained"):
        model_class: Any = type(module)
        state = model_class.from_pretrained(folder).state_dict()
    else:
        state = load_file(files[0])
    if {key: value.shape for key, value in state.items()} != {k: v.shape for k, v in module.state_dict().items()}:
        return False
    module.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    return True


def base_part_folder(work: Path, name: str) -> Path:
    """Folder of one part of the base model: the one trained in the work folder if any, else the committed one."""
    trained = work / "parts" / name
    return trained if trained.exists() else BASE / name
