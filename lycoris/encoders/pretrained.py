"""A model folder to its network: which family it is, and every weight in place."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from lycoris.encoders import open_clip
from lycoris.errors import InputError, unknown_name_error


def read_model_type(folder: Path, known: Iterable[str]) -> str:
    """The family of a model by ``config.json``; a folder of open_clip alone is a ``clip``.

    Args:
        folder: of the model.
        known: families.

    Raises:
        InputError: no file says it, or the family is unknown.
    """
    file = folder / "config.json"
    if not file.is_file():
        if open_clip.read_config(folder) is not None:
            return "clip"
        raise InputError(f"Encoder folder `{folder}` must hold `config.json`, but has none.")
    kind = json.loads(file.read_text(encoding="utf-8")).get("model_type")
    if kind not in known:
        raise unknown_name_error("encoder family", kind, known)
    return kind


def load_encoder(folder: Path) -> Any:
    """The network of a folder, in float32, without gradients.

    Raises:
        InputError: it cannot be opened, or a weight is not in its files.
    """
    if not (folder / "config.json").is_file():
        return open_clip.load_clip(folder).eval().requires_grad_(False)
    from transformers import AutoModel
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, info = AutoModel.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"Encoder folder `{folder}` could not be opened: {error}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    missing = sorted(str(key) for key in info["missing_keys"])
    if missing:
        raise InputError(
            f"Encoder folder `{folder}` must hold every weight, but lacks {len(missing)}, such as `{missing[0]}`."
        )
    return model.eval().requires_grad_(False)
