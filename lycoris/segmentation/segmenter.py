"""Segmenters: which pixels of an image show its subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lycoris.errors import InputError
from lycoris.segmentation.networks import ClipSegNetwork, Sam3Network, SamNetwork

if TYPE_CHECKING:
    import torch

NETWORKS: Mapping[str, Callable[[Path, torch.device], Any]] = {
    "clipseg": ClipSegNetwork,
    "sam": SamNetwork,
    "sam3": Sam3Network,
}
"""``model_type`` of a configuration -> the class that runs it. A new family is one class and one line."""
PROMPTED_BY_TEXT = frozenset({"clipseg", "sam3"})
"""Families that search what a text names; the others take what is at the centre of an image."""
MIN_AREA = 0.001
"""Share of an image's pixels that a mask has at least; fewer count as nothing."""


class Segmenter:
    """A segmentation network with the threshold above which a pixel belongs to the subject.

    Args:
        name: short name in messages.
        digest: see `segmenter_digest`.
        network: rates the pixels of an image.
        threshold: minimum probability, in (0, 1).

    Raises:
        InputError: the threshold is outside (0, 1).
    """

    def __init__(self, name: str, digest: str, network: Any, threshold: float = 0.5) -> None:
        if not 0 < threshold < 1:
            raise InputError(f"Argument `threshold` must be between 0 and 1, but got {threshold}.")
        self.name, self.digest, self.network, self.threshold = name, digest, network, threshold

    def masks(self, images: Sequence[Image.Image], prompt: str | None) -> list[Image.Image | None]:
        """Mask each image: white where it shows the subject, black elsewhere, of the image's size.

        Args:
            images: of any sizes.
            prompt: what to look for; None for a network that takes no text.

        Returns:
            A greyscale image for each; None where nothing is found.
        """
        return [self._mask(images[index].convert("RGB"), prompt) for index in range(len(images))]

    def _mask(self, image: Image.Image, prompt: str | None) -> Image.Image | None:
        is_subject = self.network.probabilities(image, prompt) > self.threshold
        if is_subject.float().mean() < MIN_AREA:
            return None
        return Image.fromarray(is_subject.to("cpu").numpy()).convert("L")


def open_segmenter(source: str | Path, device: str | torch.device = "cpu", threshold: float = 0.5) -> Segmenter:
    """Open a segmenter by name.

    Args:
        source: a folder or a hub name of a CLIPSeg, SAM or SAM 3.
        device: torch device; ``"auto"`` takes a GPU if there is one.
        threshold: minimum probability of a pixel of the subject, in (0, 1).

    Raises:
        InputError: the segmenter does not exist, its files do not match, or the threshold is outside (0, 1).
    """
    from lycoris.pretrained import resolve_device

    name, folder = _resolve_source(source)
    network = NETWORKS[_family(folder)](folder, resolve_device(device))
    return Segmenter(name, segmenter_digest(source), network, threshold)


def segmenter_digest(source: str | Path) -> str:
    """Compute the SHA-256 of a segmenter's files in hexadecimal, without opening it.

    Raises:
        InputError: the segmenter does not exist, or its family is not supported.
    """
    from lycoris.encoders.model_sources import model_digest

    _, folder = _resolve_source(source)
    _family(folder)
    return model_digest(folder)


def takes_prompt(source: str | Path) -> bool:
    """Whether a segmenter searches what a text names.

    Raises:
        InputError: the segmenter does not exist, or its family is not supported.
    """
    return _family(_resolve_source(source)[1]) in PROMPTED_BY_TEXT


def _resolve_source(source: str | Path) -> tuple[str, Path]:
    from lycoris.encoders.model_sources import resolve_source

    if "/" not in str(source) and not Path(source).exists():
        raise InputError(f"Segmenter `{source}` must be a folder or a hub name, such as CIDAS/clipseg-rd64-refined.")
    name, folder = resolve_source(source)
    if not folder.is_dir():
        raise InputError(f"Argument `source` must be the folder of a segmenter, but `{source}` is a file.")
    return name, folder


def _family(folder: Path) -> str:
    from lycoris.pretrained import check_model_type

    family = check_model_type(folder, [*NETWORKS, "sam3_video"], "segmenter")
    return family.removesuffix("_video")  # SAM 3 is published with both
