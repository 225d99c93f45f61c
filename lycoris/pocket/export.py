"""From trained parts to the committed weights: half precision, each in the layout of its full-size sibling."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
)

from lycoris.pocket import WEIGHTS
from lycoris.pocket.course import Budget
from lycoris.pocket.unet import build_scheduler

_OPENERS = {
    "clip": CLIPModel,
    "dinov2": AutoModel,
    "convnextv2": AutoModel,
    "tagger": AutoModelForImageClassification,
    "judge": AutoModelForImageClassification,
}
LARGEST = 40_000_000
"""Bytes that all weights may take together."""


def assemble(parts: Path) -> StableDiffusionPipeline:
    """The pipeline of the parts as they are now, with the refined decoder where there is one."""
    vae = parts / "vae_refined" if (parts / "vae_refined").exists() else parts / "vae"
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(vae),
        text_encoder=CLIPTextModel.from_pretrained(parts / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(parts / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(parts / "unet"),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(work: Path, budget: Budget | None = None, weights: Path = WEIGHTS) -> None:
    """Write every part that is trained; `budget` is not used.

    Raises:
        ValueError: the weights take more than `LARGEST` bytes together.
    """
    del budget
    parts = work / "parts"
    if (parts / "unet").exists():
        _replace(weights / "base", lambda folder: assemble(parts).to(torch.float16).save_pretrained(folder))
    for name, opener in _OPENERS.items():
        if (parts / name).exists():
            _replace(weights / name, lambda folder, n=name, o=opener: _halve(parts / n, folder, o))
    if (parts / "vgg").exists():
        _replace(weights / "vgg", lambda folder: shutil.copytree(parts / "vgg", folder))
    size = sum(file.stat().st_size for file in weights.rglob("*") if file.is_file())
    print(f"weights: {size / 1e6:.1f} MB", flush=True)
    if size > LARGEST:
        raise ValueError(f"The weights must take at most {LARGEST} bytes together, but take {size}.")


def _halve(part: Path, folder: Path, opener: type) -> None:
    """Copy a part and put its weights in half precision."""
    shutil.copytree(part, folder)
    opener.from_pretrained(part).half().save_pretrained(folder)


def _replace(folder: Path, write) -> None:
    """Write a folder aside, then put it in the place of the old one."""
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    write(aside)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
