"""Networks of the transformers library from a folder: whole and quiet, or an error that says what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lycoris.errors import InputError


def load_pretrained(model_class: Any, folder: Path, role: str) -> Any:
    """A frozen network in float32 and in evaluation mode.

    Args:
        kind: a class with ``from_pretrained``, such as ``AutoModelForImageClassification``.
        folder: ``config.json`` and weights.
        what: stands before "folder" in errors.

    Raises:
        InputError: the folder cannot be opened, or a weight of the network is not in it.
    """
    import torch
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, info = model_class.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        raise InputError(f"{role} folder `{folder}` could not be opened: {error}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    missing = sorted(str(key) for key in info["missing_keys"])
    if missing:
        raise InputError(f"{role} folder `{folder}` must hold every weight, but lacks `{missing[0]}`.")
    return model.eval().requires_grad_(False)
