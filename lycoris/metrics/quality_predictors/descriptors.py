"""Descriptors of images for one purpose, from published files: style (CSD) and copies (SSCD)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lycoris.encoders import Preprocessing
from lycoris.encoders.batch_encoding import encode_batches
from lycoris.encoders.model_sources import model_digest
from lycoris.encoders.open_clip import OPENAI_MEAN, OPENAI_STD, rename_keys
from lycoris.errors import InputError
from lycoris.metrics.prediction import PredictionInputs
from lycoris.pretrained import read_weights

HEAD_WIDTH = 64
"""Width of an attention head of every ViT that OpenAI published."""
SSCD_SIZE = 288
BATCH_SIZE = 16


class StyleDescriptor:
    """CSD: a CLIP's image tower with a projection that was trained for style.

    Args:
        file: its published checkpoint, with ``backbone.*`` in OpenAI's names and ``last_layer_style``.
        device: torch device.

    Raises:
        InputError: the file does not hold such a network.

    Source: Somepalli et al., arXiv 2404.01292.
    """

    metric = "csd_similarity"

    def __init__(self, file: Path, device: str | torch.device = "cpu") -> None:
        self.name, self.digest, self.device = file.stem.replace(" ", "_"), model_digest(file), torch.device(device)
        network, self.projection = _load_csd(file)
        self.network = network.to(self.device)
        self.projection = self.projection.to(self.device)
        self.preprocessing = Preprocessing(network.config.image_size, OPENAI_MEAN, OPENAI_STD)

    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images dim"]:
        """Return one descriptor per image."""
        return _describe(self._forward, inputs, self.preprocessing, "crop", self.device)

    def _forward(self, pixels: Tensor) -> Tensor:
        return self.network(pixel_values=pixels).pooler_output @ self.projection


class CopyDescriptor:
    """SSCD as its authors publish it for use without their code: a TorchScript file.

    Images keep their aspect ratio; the short side is 288 pixels.

    Args:
        file: such as ``sscd_disc_mixup.torchscript.pt``, for which the threshold of the metric holds.
        device: torch device.

    Raises:
        InputError: the file is not TorchScript.

    Source: Pizzi et al., arXiv 2202.10261.
    """

    metric = "copy_rate"

    def __init__(self, file: Path, device: str | torch.device = "cpu") -> None:
        self.name, self.digest, self.device = file.name.split(".")[0], model_digest(file), torch.device(device)
        try:
            self.network = torch.jit.load(str(file), map_location=self.device).eval()
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"Quality predictor `copy_rate` needs a TorchScript file, but `{file}` is none: {error}"
            ) from error
        self.preprocessing = Preprocessing(SSCD_SIZE, keep_aspect_ratio=True, resample=Image.Resampling.BILINEAR)

    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images dim"]:
        """Return one descriptor per image."""
        return _describe(self.network, inputs, self.preprocessing, "resize", self.device)


def _describe(
    network: Callable[[Tensor], Tensor],
    inputs: PredictionInputs,
    preprocessing: Preprocessing,
    mode: str,
    device: torch.device,
) -> Float[np.ndarray, "images dim"]:
    return encode_batches(
        network, inputs.images, preprocessing, mode=mode, batch_size=BATCH_SIZE, device=device
    ).numpy()


def _load_csd(file: Path) -> tuple[Any, Tensor]:
    """The image tower and the projection of a checkpoint."""
    from transformers import CLIPVisionModel

    state = {key.removeprefix("module."): value for key, value in read_weights(file).items()}
    projection = state.get("last_layer_style")
    tower = {
        key.replace("backbone.", "visual.", 1): value for key, value in state.items() if key.startswith("backbone.")
    }
    if projection is None or "visual.conv1.weight" not in tower or "visual.positional_embedding" not in tower:
        raise InputError(
            f"Quality predictor `csd_similarity` needs a checkpoint with `backbone.*` and `last_layer_style`, but "
            f"`{file}` is none."
        )
    renamed = {key: value.float() for key, value in rename_keys(tower, file).items()}
    network = CLIPVisionModel(_tower_config(tower))
    expected = set(network.state_dict())
    prefix = "vision_model."
    if not expected <= renamed.keys():  # transformers 5 names the tower's parts without the prefix
        renamed = {key.removeprefix(prefix): value for key, value in renamed.items()}
    if expected != renamed.keys():
        key = sorted(expected ^ renamed.keys())[0]
        raise InputError(f"Checkpoint `{file}` does not hold OpenAI's image tower: `{key}` is missing or superfluous.")
    network.load_state_dict(renamed)
    return network.eval().requires_grad_(False), projection.float()


def _tower_config(tower: Mapping[str, Tensor]) -> Any:
    from transformers import CLIPVisionConfig

    width, _, patch, _ = tower["visual.conv1.weight"].shape
    blocks = {key.split(".")[3] for key in tower if key.startswith("visual.transformer.resblocks.")}
    side = round((len(tower["visual.positional_embedding"]) - 1) ** 0.5)
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=len(tower["visual.transformer.resblocks.0.mlp.c_fc.bias"]),
        num_hidden_layers=len(blocks),
        num_attention_heads=max(1, width // HEAD_WIDTH),
        image_size=side * patch,
        patch_size=patch,
        hidden_act="quick_gelu",
    )
