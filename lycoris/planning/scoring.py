"""What the image encoders of the scores take, from their configurations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lycoris.bases.files.hub import download_snapshot, is_hub_name
from lycoris.encoders.model_sources import EMBEDDED_ENCODERS, resolve_source
from lycoris.errors import InputError
from lycoris.planning.fake_models import fake_tensors, fill_with_fakes, module_bytes
from lycoris.planning.meter import Meter

BATCH_SIZE = 32
"""Images that an encoder takes at a time."""


@dataclass(frozen=True)
class ScoringPlan:
    """Bytes of the encoders' weights, the most beyond them at one time, and the FLOPs of one image."""

    resident: int
    working: int
    flops: int


def plan_scoring(encoders: tuple[str, ...]) -> ScoringPlan | None:
    """Plan the encoding of images by some encoders, which stay loaded, in float32; None without encoders.

    Raises:
        InputError: an encoder or its configuration is missing.
    """
    resident = working = flops = 0
    for source in encoders:
        config = _config(source)
        vision = getattr(config, "vision_config", config)
        side = getattr(vision, "image_size", None) or 224
        model = _meta_model(config)
        with fake_tensors():
            fill_with_fakes(model, torch.float32)
            with Meter() as meter, torch.no_grad(), meter.count_flops() as counted:
                pixels = torch.empty(BATCH_SIZE, 3, side, side)
                model.get_image_features(pixel_values=pixels) if vision is not config else model(pixel_values=pixels)
            resident += module_bytes(model)
        working, flops = max(working, meter.peak), flops + counted[0] // BATCH_SIZE
    return ScoringPlan(resident, working, flops) if encoders else None


def _meta_model(config: Any) -> Any:
    from transformers import AutoModel

    with torch.device("meta"):
        return AutoModel.from_config(config).eval()


def _config(source: str) -> Any:
    from transformers import AutoConfig

    known = source in EMBEDDED_ENCODERS or Path(source).expanduser().exists() or not is_hub_name(source)
    failure = f"Encoder `{source}` is not on this machine."
    folder = resolve_source(source)[1] if known else download_snapshot(source, ["config.json"], failure)
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"Encoder `{source}` has no readable config.json: {error}") from error
