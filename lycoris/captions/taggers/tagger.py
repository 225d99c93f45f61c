"""Taggers: pictures in, for each its tags with confidence out, best first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from lycoris.captions.sidecar import SIDECAR, SidecarTagger
from lycoris.captions.taggers.labels import LABEL_FILE
from lycoris.errors import InputError, unknown_name_error

if TYPE_CHECKING:
    import torch

POCKET = "pocket"
_TEXT_IMAGE_FAMILIES = frozenset({"clip", "siglip"})


class Tagger(Protocol):
    """Pictures to tags."""

    @property
    def name(self) -> str:
        """What stands for the tagger in names of scores; holds no slash."""

    @property
    def digest(self) -> str:
        """The sha256 over everything its tags depend on besides the pictures."""

    @property
    def categories(self) -> Mapping[str, str]:
        """Every tag it may give -> its category."""

    def tags(self, images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """For each picture its tags with confidence in [0, 1], best first, in the order of `images`."""


def open_tagger(
    source: str | Path = POCKET,
    device: str | torch.device = "cpu",
    thresholds: Mapping[str, float] | None = None,
    vocabulary: Path | None = None,
) -> Tagger:
    """A tagger by name.

    Args:
        source: ``"pocket"`` for the embedded one; ``"sidecar"`` for the text files beside the pictures; a folder
            or a hub name of a multi-label image classifier (transformers, or ONNX with ``selected_tags.csv``), or of
            a CLIP or SigLIP, which tags with the words of a vocabulary; ``"clip"`` is the embedded CLIP.
        device: where it runs; ``"auto"`` takes a GPU where there is one.
        thresholds: category -> least confidence, over `lycoris.captions.taggers.thresholding.THRESHOLDS`.
        vocabulary: a file of tags, for a CLIP or SigLIP and for no other.

    Raises:
        InputError: there is no such tagger, or its files do not fit.
    """
    if str(source) == SIDECAR:
        _check_no_options(source, thresholds, vocabulary)
        return SidecarTagger()
    import torch

    name, folder = _resolve_source(source)
    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    digest = tagger_digest(source, thresholds, vocabulary)
    kind = _tagger_kind(folder)
    if kind == "text-image":
        from lycoris.captions.taggers.zero_shot import ZeroShotTagger

        assert vocabulary is not None  # `tagger_digest` asked for it
        return ZeroShotTagger(name, folder, digest, vocabulary, device, thresholds)
    if kind == "onnx":
        from lycoris.captions.taggers.onnx_tagger import OnnxTagger

        return OnnxTagger(name, folder, digest, device, thresholds)
    from lycoris.captions.taggers.classifier import ClassifierTagger

    return ClassifierTagger(name, folder, digest, device, thresholds)


def tagger_digest(
    source: str | Path = POCKET, thresholds: Mapping[str, float] | None = None, vocabulary: Path | None = None
) -> str:
    """The sha256 over a tagger's files, thresholds and vocabulary, in hexadecimal, without opening it.

    Of ``"sidecar"`` it is that of its name: what the files beside the pictures hold is read anew each time.

    Raises:
        InputError: there is no such tagger, or a vocabulary is missing or out of place.
    """
    if str(source) == SIDECAR:
        _check_no_options(source, thresholds, vocabulary)
        return SidecarTagger.digest
    from lycoris.cache.integrity import file_digest
    from lycoris.encoders.model_sources import model_digest

    _, folder = _resolve_source(source)
    kind = _tagger_kind(folder)
    whole = hashlib.sha256(model_digest(folder).encode())
    if (folder / LABEL_FILE).is_file():
        whole.update((folder / LABEL_FILE).read_bytes())
    if kind == "onnx":
        from lycoris.captions.taggers.onnx_tagger import find_onnx_file

        whole.update(file_digest(find_onnx_file(folder)).encode())
    if kind == "text-image":
        if vocabulary is None:
            raise InputError(f"Tagger `{source}` knows no tags of its own: give it a `vocabulary` file.")
        from lycoris.captions.taggers.labels import read_vocabulary

        whole.update(repr(read_vocabulary(vocabulary)).encode())
    elif vocabulary is not None:
        raise InputError(f"Tagger `{source}` has tags of its own and takes no `vocabulary`.")
    whole.update(repr(sorted((thresholds or {}).items())).encode())
    return whole.hexdigest()


def _check_no_options(source: str | Path, thresholds: Mapping[str, float] | None, vocabulary: Path | None) -> None:
    """What someone wrote is taken as it is."""
    for name, given in (("thresholds", thresholds), ("vocabulary", vocabulary)):
        if given:
            raise InputError(f"Tagger `{source}` reads what someone wrote and takes no `{name}`.")


def _tagger_kind(folder: Path) -> str:
    """``"text-image"``, ``"onnx"`` or ``"classifier"``, by the files of a folder."""
    stated = _model_type(folder)
    if stated in _TEXT_IMAGE_FAMILIES:
        return "text-image"
    return "onnx" if stated is None and any(folder.glob("*.onnx")) else "classifier"


def _model_type(folder: Path) -> str | None:
    """As transformers' configurations state it; those of other libraries do not."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None


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
        if _model_type(folder) is None and (folder / LABEL_FILE).is_file():
            _download_optional(str(source), "model.onnx")
    return name, folder


def _download_optional(name: str, file: str) -> None:
    """Ask the hub for a file that some taggers have; `locate` fetches only what every network has."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

    try:
        hf_hub_download(name, file)
    except (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, OSError):
        return  # whoever needs it says so, by its name
