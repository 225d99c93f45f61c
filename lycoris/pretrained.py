"""Pretrained networks: model type, weights, device, and quiet loading through the transformers library."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lycoris.errors import InputError, unknown_name_error

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def read_model_type(folder: Path) -> str | None:
    """The ``model_type`` in a folder's ``config.json``; None without such a file or entry."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None


def check_model_type(folder: Path, known: Iterable[str], role: str) -> str:
    """The ``model_type`` of a folder that must be a known one.

    Args:
        folder: the model folder.
        known: the supported model types.
        role: what the model is for, for error messages: ``"encoder"``.

    Raises:
        InputError: ``config.json`` is missing or unreadable, or the model type is not supported.
    """
    model_type = read_model_type(folder)
    if model_type is None and not (folder / "config.json").is_file():
        raise InputError(f"{role.capitalize()} folder `{folder}` must hold `config.json`, but has none.")
    if model_type not in set(known):
        raise unknown_name_error(f"{role} family", model_type, known)
    return str(model_type)


def load_pretrained(
    model_class: Any, folder: Path, role: str, dtype: torch.dtype | Literal["auto"] | None = None
) -> Any:
    """Load a network in evaluation mode, with frozen parameters.

    Args:
        model_class: a class with ``from_pretrained``, such as ``AutoModel``.
        folder: holds ``config.json`` and weights.
        role: what the model is for, for error messages: ``"encoder"``.
        dtype: precision of the weights, ``"auto"`` for that of the files; None for float32.

    Raises:
        InputError: the folder cannot be loaded, or lacks a weight of the network.
    """
    import torch

    role = role.capitalize()
    with silence_transformers():
        try:
            model, info = model_class.from_pretrained(
                folder, dtype=dtype or torch.float32, local_files_only=True, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
            raise InputError(f"{role} folder `{folder}` could not be loaded: {error}") from error
    missing = sorted(str(key) for key in info["missing_keys"])
    if missing:
        raise InputError(
            f"{role} folder `{folder}` must hold every weight, but lacks {len(missing)}, such as `{missing[0]}`."
        )
    return model.eval().requires_grad_(False)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read the tensors in a weight file, ``.safetensors`` or PyTorch's own format.

    Raises:
        InputError: the file cannot be read.
    """
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the errors of torch.load have no common base class
        raise InputError(f"Weight file `{file}` could not be read: {error}") from error
    nested = next((state[name] for name in ("state_dict", "model_state_dict") if name in state), state)
    return {key: value for key, value in nested.items() if isinstance(value, torch.Tensor)}


def resolve_device(name: str | torch.device) -> torch.device:
    """Return the named device; for ``"auto"`` a GPU if there is one.

    Raises:
        InputError: torch does not know the name.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise InputError(f"Argument `device` must be `auto` or a torch device, but got {name!r}.") from error


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Hide the progress bars and warnings of transformers for the duration of the context."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
