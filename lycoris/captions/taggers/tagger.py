"""Taggers: the tags of each image with their confidences; most are a network with a confidence for every label."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from PIL import Image

from lycoris.captions.sidecar import SIDECAR, SidecarTagger
from lycoris.captions.taggers.labels import LABEL_FILE, Label
from lycoris.captions.taggers.thresholding import resolve_thresholds, select_tags
from lycoris.errors import InputError, unknown_name_error
from lycoris.pretrained import read_model_type, resolve_device

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

POCKET = "pocket"
_TEXT_IMAGE_FAMILIES = frozenset({"clip", "siglip"})


@runtime_checkable
class Tagger(Protocol):
    """A model that tags images."""

    @property
    def name(self) -> str:
        """Short name in the names of scores; holds no slash."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything the tags depend on besides the images."""

    @property
    def categories(self) -> Mapping[str, str]:
        """Every tag that the tagger may give -> its category."""

    def tags(self, images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Tag each image, with confidences in [0, 1], highest first, in the order of `images`."""


class LabelNetwork(Protocol):
    """A network that rates fixed labels."""

    labels: tuple[Label, ...]

    def confidences(self, images: Sequence[Image.Image]) -> Float[Tensor, "images tags"]:
        """Rate every label for each image, in [0, 1]; there is at least one image."""


class LabelTagger:
    """A network with a threshold for each category of its labels.

    Args:
        name: short name in the names of scores.
        digest: SHA-256 of everything the tags depend on.
        network: rates the labels.
        thresholds: category -> minimum confidence in (0, 1), in place of `thresholding.DEFAULT_THRESHOLDS`.
        lowest: the lowest default threshold.

    Raises:
        InputError: no label has the category of a threshold, or a threshold is outside (0, 1).
    """

    def __init__(
        self,
        name: str,
        digest: str,
        network: LabelNetwork,
        thresholds: Mapping[str, float] | None = None,
        lowest: float = 0.0,
    ) -> None:
        self.name, self.digest, self.network = name, digest, network
        self.thresholds = resolve_thresholds(network.labels, thresholds, lowest)
        self.categories = {each.tag: each.category for each in network.labels if each.category in self.thresholds}

    def tags(self, images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Tag each image, with confidences in [0, 1], highest first, in the order of `images`."""
        rows = self.network.confidences(images).tolist() if images else []
        return [select_tags(row, self.network.labels, self.thresholds) for row in rows]


def open_tagger(
    source: str | Path = POCKET,
    device: str | torch.device = "cpu",
    thresholds: Mapping[str, float] | None = None,
    vocabulary: Path | None = None,
) -> Tagger:
    """Open a tagger by name.

    Args:
        source: ``"pocket"`` for the embedded tagger; ``"sidecar"`` for the text files next to the images; a folder or a
            hub name of a multi-label image classifier (transformers, or ONNX with ``selected_tags.csv``), or of a
            CLIP or SigLIP, which tags with the words of a vocabulary; ``"clip"`` is the embedded CLIP.
        device: torch device; ``"auto"`` takes a GPU if there is one.
        thresholds: category -> minimum confidence, in place of `thresholding.DEFAULT_THRESHOLDS`.
        vocabulary: a file of tags, for a CLIP or SigLIP only.

    Raises:
        InputError: the tagger does not exist, or its files do not match.
    """
    if str(source) == SIDECAR:
        _check_no_options(source, thresholds, vocabulary)
        return SidecarTagger()
    name, folder = _resolve_source(source)
    device = resolve_device(device)
    digest = tagger_digest(source, thresholds, vocabulary)
    kind = _tagger_kind(folder)
    if kind == "text-image":
        from lycoris.captions.taggers.zero_shot import NEUTRAL_CONFIDENCE, ZeroShotNetwork

        assert vocabulary is not None  # `tagger_digest` requires it
        network = ZeroShotNetwork(folder, vocabulary, device)
        return LabelTagger(name, digest, network, thresholds, lowest=NEUTRAL_CONFIDENCE)
    if kind == "onnx":
        from lycoris.captions.taggers.onnx_tagger import OnnxNetwork

        return LabelTagger(name, digest, OnnxNetwork(folder, device), thresholds)
    from lycoris.captions.taggers.classifier import ClassifierNetwork

    return LabelTagger(name, digest, ClassifierNetwork(folder, device), thresholds)


def tagger_digest(
    source: str | Path = POCKET, thresholds: Mapping[str, float] | None = None, vocabulary: Path | None = None
) -> str:
    """Compute the SHA-256 of a tagger's files, thresholds and vocabulary in hexadecimal, without opening it.

    For ``"sidecar"`` it is the hash of the name: the text files are read anew each time.

    Raises:
        InputError: the tagger does not exist, its package is not installed, or a vocabulary is missing or not
            applicable.
    """
    if str(source) == SIDECAR:
        _check_no_options(source, thresholds, vocabulary)
        return SidecarTagger.digest
    from lycoris.cache.integrity import file_digest
    from lycoris.encoders.model_sources import model_digest

    _, folder = _resolve_source(source)
    kind = _tagger_kind(folder)
    total = hashlib.sha256(model_digest(folder).encode())
    if (folder / LABEL_FILE).is_file():
        total.update((folder / LABEL_FILE).read_bytes())
    if kind == "onnx":
        from lycoris.captions.taggers.onnx_tagger import find_onnx_file, require_onnxruntime

        require_onnxruntime()
        total.update(file_digest(find_onnx_file(folder)).encode())
    if kind == "text-image":
        if vocabulary is None:
            raise InputError(f"Tagger `{source}` needs a `vocabulary` file, because it has no tags of its own.")
        from lycoris.captions.taggers.labels import read_vocabulary

        total.update(repr(read_vocabulary(vocabulary)).encode())
    elif vocabulary is not None:
        raise InputError(f"Tagger `{source}` has tags of its own and takes no `vocabulary`.")
    total.update(repr(sorted((thresholds or {}).items())).encode())
    return total.hexdigest()


def _check_no_options(source: str | Path, thresholds: Mapping[str, float] | None, vocabulary: Path | None) -> None:
    for name, value in (("thresholds", thresholds), ("vocabulary", vocabulary)):
        if value:
            raise InputError(f"Tagger `{source}` reads the tags in text files and takes no `{name}`.")


def _tagger_kind(folder: Path) -> Literal["text-image", "onnx", "classifier"]:
    """The kind of tagger that a folder holds, by its files."""
    model_type = read_model_type(folder)
    if model_type in _TEXT_IMAGE_FAMILIES:
        return "text-image"
    return "onnx" if model_type is None and any(folder.glob("*.onnx")) else "classifier"


def _resolve_source(source: str | Path) -> tuple[str, Path]:
    from lycoris.encoders.model_sources import resolve_source

    if str(source) == POCKET:
        from lycoris import pocket

        if not pocket.TAGGER.is_dir():
            raise InputError(f"The embedded tagger is not at `{pocket.TAGGER}`: is the repository complete?")
        return POCKET, pocket.TAGGER
    if "/" not in str(source) and str(source) != "clip" and not Path(source).exists():
        raise unknown_name_error("tagger", source, [POCKET, SIDECAR, "clip"])
    name, folder = resolve_source(source)
    if not folder.is_dir():
        raise InputError(f"Argument `source` must be the folder of a tagger, but `{source}` is a file.")
    if not Path(source).exists() and str(source) != "clip" and not (folder / LABEL_FILE).is_file():
        _download_optional(str(source), LABEL_FILE)
        if read_model_type(folder) is None and (folder / LABEL_FILE).is_file():
            _download_optional(str(source), "model.onnx")
    return name, folder


def _download_optional(name: str, file: str) -> None:
    """Download a file that only some taggers have; `resolve_source` fetches the files that every network has."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

    try:
        hf_hub_download(name, file)
    except (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, OSError):
        return  # the code that needs the file reports that it is missing
