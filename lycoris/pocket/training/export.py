"""Export of trained models to the committed weights: half precision, in the layout of their full-size counterparts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    DiffusionPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
)

from lycoris.cache.atomic import atomic_dir
from lycoris.pocket import FLOW_BASE, WEIGHTS
from lycoris.pocket.training.flow import build_flow_scheduler
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
FLOW_REPORT = "report-flow.json"
"""Accuracies of UNet and flow transformer in the work folder; `report.json` beside the committed transformer."""
MAX_WEIGHT_BYTES = 57_000_000
"""Limit of the total size of all weights in bytes: 17 MB for the flow base, 40 MB for everything else."""


def assemble_pipeline(work: Path) -> StableDiffusionPipeline:
    """Assemble the pipeline from its current parts, with the refined decoder if there is one."""
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


def assemble_flow_pipeline(work: Path) -> AuraFlowPipeline:
    """Assemble the pipeline of the transformer in the work folder, else of the committed one."""
    trained = work / "parts" / "transformer"
    transformer = trained if trained.exists() else FLOW_BASE / "transformer"
    return AuraFlowPipeline(
        transformer=AuraFlowTransformer2DModel.from_pretrained(transformer),
        vae=AutoencoderKL.from_pretrained(base_part_folder(work, "vae")),
        text_encoder=CLIPTextModel.from_pretrained(base_part_folder(work, "text_encoder")),
        tokenizer=CLIPTokenizer.from_pretrained(base_part_folder(work, "tokenizer")),
        scheduler=build_flow_scheduler(),
    )


def export(work: Path, budget: TimeBudget | None = None, weights: Path = WEIGHTS) -> None:
    """Write every model found in the work folder.

    Args:
        work: work folder of all trainings.
        budget: ignored; present because every part of `python -m lycoris.pocket.training` takes one.
        weights: folder to write to.

    Raises:
        ValueError: the weights exceed `MAX_WEIGHT_BYTES` in total.
    """
    del budget
    parts = work / "parts"
    if any((parts / name).exists() for name in ("unet", "vae", "vae_refined")):
        _save_pipeline(assemble_pipeline(work), weights / "base")
    if (parts / "transformer").exists():
        _save_pipeline(assemble_flow_pipeline(work), weights / "flow")
        if (work / FLOW_REPORT).exists():
            shutil.copyfile(work / FLOW_REPORT, weights / "flow" / "report.json")
    for name, model_class in _MODEL_CLASSES.items():
        if (parts / name).exists():
            _replace_folder(weights / name, partial(_save_half_precision, parts / name, model_class))
    if (parts / "vgg").exists():
        _replace_folder(weights / "vgg", partial(shutil.copytree, parts / "vgg", dirs_exist_ok=True))
    size = sum(file.stat().st_size for file in weights.rglob("*") if file.is_file())
    print(f"weights: {size / 1e6:.1f} MB", flush=True)
    if size > MAX_WEIGHT_BYTES:
        raise ValueError(f"All weights together must take at most {MAX_WEIGHT_BYTES} bytes, but take {size}.")


def _save_pipeline(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Save a pipeline in half precision, without the folders that its parts were loaded from."""
    for network in pipeline.components.values():
        if isinstance(network, nn.Module):
            network.half()
    _replace_folder(folder, pipeline.save_pretrained)
    for file in folder.glob("*/config.json"):
        config = json.loads(file.read_text())
        config.pop("_name_or_path", None)
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _save_half_precision(part: Path, model_class: Any, folder: Path) -> None:
    """Copy a model's folder with its weights in half precision."""
    shutil.copytree(part, folder, dirs_exist_ok=True)
    model_class.from_pretrained(part).half().save_pretrained(folder)


def _replace_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Write a new folder under a temporary name, then replace the old one."""
    with atomic_dir(folder) as temporary:
        write(temporary)
        shutil.rmtree(folder, ignore_errors=True)
