"""From trained parts to the committed weights: half precision, each in the layout of its full-size sibling."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
)

from lycoris.pocket import WEIGHTS
from lycoris.pocket.training.trainer import TimeBudget
from lycoris.pocket.training.unet import build_scheduler
from lycoris.pocket.training.warm_start import base_part_folder

_MODEL_CLASSES = {
    "clip": CLIPModel,
    "dinov2": AutoModel,
    "convnextv2": AutoModel,
    "tagger": AutoModelForImageClassification,
    "judge": AutoModelForImageClassification,
}
MAX_WEIGHT_BYTES = 40_000_000
"""Bytes that all weights may take together."""


def assemble_pipeline(work: Path) -> StableDiffusionPipeline:
    """The pipeline of the parts as they are now, with the refined decoder where there is one."""
    refined = work / "parts" / "vae_refined"
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(refined if refined.exists() else base_part_folder(work, "vae")),
        text_encoder=CLIPTextModel.from_pretrained(base_part_folder(work, "text_encoder")),
        tokenizer=CLIPTokenizer.from_pretrained(base_part_folder(work, "tokenizer")),
        unet=UNet2DConditionModel.from_pretrained(base_part_folder(work, "unet")),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(work: Path, budget: TimeBudget | None = None, weights: Path = WEIGHTS) -> None:
    """Write every part that is trained; `budget` is not used.

    Raises:
        ValueError: the weights take more than `LARGEST` bytes together.
    """
    del budget
    parts = work / "parts"
    if any((parts / name).exists() for name in ("unet", "vae", "vae_refined")):
        pipeline = assemble_pipeline(work)
        for network in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
            network.half()
        _replace_folder(weights / "base", pipeline.save_pretrained)
        for file in (weights / "base").glob("*/config.json"):  # diffusers notes the folder it was opened from
            settings = json.loads(file.read_text())
            settings.pop("_name_or_path", None)
            file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    for name, opener in _MODEL_CLASSES.items():
        if (parts / name).exists():
            _replace_folder(weights / name, lambda folder, n=name, o=opener: _save_half_precision(parts / n, folder, o))
    if (parts / "vgg").exists():
        _replace_folder(weights / "vgg", lambda folder: shutil.copytree(parts / "vgg", folder))
    size = sum(file.stat().st_size for file in weights.rglob("*") if file.is_file())
    print(f"weights: {size / 1e6:.1f} MB", flush=True)
    if size > MAX_WEIGHT_BYTES:
        raise ValueError(f"The weights must take at most {MAX_WEIGHT_BYTES} bytes together, but take {size}.")


def _save_half_precision(part: Path, folder: Path, opener: Any) -> None:
    """Copy a part and put its weights in half precision."""
    shutil.copytree(part, folder)
    opener.from_pretrained(part).half().save_pretrained(folder)


def _replace_folder(folder: Path, write) -> None:
    """Write a folder aside, then put it in the place of the old one."""
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    write(aside)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
