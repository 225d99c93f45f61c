"""Metrics from the package ``pyiqa``: LIQE and MANIQA for single images, and LPIPS between images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lycoris.errors import InputError, unknown_name_error
from lycoris.metrics.prediction import PredictionInputs

MOS_METRICS = ("liqe", "maniqa")
"""Networks that predict a mean opinion score."""


class MosPredictor:
    """LIQE or MANIQA from the package ``pyiqa``.

    Args:
        metric: ``liqe`` or ``maniqa``.
        device: torch device.

    Raises:
        InputError: the metric is unknown, or ``pyiqa`` is not installed.
    """

    name = "pyiqa"

    def __init__(self, metric: str, device: str | torch.device = "cpu") -> None:
        if metric not in MOS_METRICS:
            raise unknown_name_error("quality predictor", metric, MOS_METRICS)
        self.metric = metric
        self.device = torch.device(device)
        self.network, self.digest = _create_pyiqa_metric(metric, self.device)

    @torch.inference_mode()
    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images one"]:
        """Return one value per image, each at its own size."""
        values = [
            self.network(_to_tensor(image).to(self.device)).reshape(1, 1).double().cpu() for image in inputs.images
        ]
        return torch.cat(values).numpy()


class Lpips:
    """LPIPS from the package ``pyiqa``, as points whose squared distances it is.

    LPIPS is a squared distance of weighted, normalized feature maps, so such points exist; classical scaling finds them
    from all pairs, which must have one size. Pairs cost n²/2 passes.

    Args:
        device: torch device.
        network: pairs of images [1, 3, height, width] in [0, 1] -> LPIPS; that of ``pyiqa`` by default.

    Raises:
        InputError: ``pyiqa`` is not installed and no network is given.

    Source: Zhang et al., arXiv 1801.03924; Torgerson, Psychometrika 17, 1952 (classical scaling).
    """

    metric = "lpips"
    name = "pyiqa"

    def __init__(
        self, device: str | torch.device = "cpu", network: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> None:
        self.device = torch.device(device)
        self.network: Callable[[Tensor, Tensor], Tensor]
        self.network, self.digest = (network, "custom") if network else _create_pyiqa_metric("lpips", self.device)

    @torch.inference_mode()
    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images images"]:
        """Return one point per image.

        Raises:
            InputError: the images differ in size.
        """
        images = inputs.images
        if len({image.size for image in images}) > 1:
            raise InputError("LPIPS compares images of one size, but the generated images differ in size.")
        pixels = [_to_tensor(image).to(self.device) for image in images]
        distances = np.zeros((len(images), len(images)))
        for row in range(len(images)):
            for column in range(row):
                distances[row, column] = distances[column, row] = float(self.network(pixels[row], pixels[column]))
        return embed_distances(distances)


def embed_distances(squared_distances: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Find points with these squared distances, by classical scaling; negative eigenvalues are set to 0."""
    centred = squared_distances - squared_distances.mean(0)
    values, vectors = np.linalg.eigh(-(centred - centred.mean(1, keepdims=True)) / 2)
    return vectors * np.sqrt(np.maximum(values, 0))


def require_pyiqa(metric: str) -> Any:
    """Import pyiqa for a metric.

    Raises:
        InputError: it is not installed.
    """
    try:
        import pyiqa  # type: ignore[import-not-found]
    except ImportError as error:
        raise InputError(
            f"Quality predictor `{metric}` needs the package pyiqa, which is not installed and whose license does not "
            "permit every use: `pip install pyiqa`."
        ) from error
    return pyiqa


def _create_pyiqa_metric(metric: str, device: torch.device) -> tuple[Any, str]:
    pyiqa = require_pyiqa(metric)
    return pyiqa.create_metric(metric, device=device), f"pyiqa {pyiqa.__version__}"


def _to_tensor(image: Image.Image) -> Float[Tensor, "1 3 height width"]:
    array = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(array).permute(2, 0, 1)[None]
