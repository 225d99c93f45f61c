"""Taggers: pictures in, for each its tags with confidence out, best first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from lycoris.captions.labels import GENERAL, LIST, Label, read_labels
from lycoris.captions.sidecar import SIDECAR, SidecarTagger
from lycoris.errors import InputError, unknown

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

POCKET = "pocket"
THRESHOLDS: Mapping[str, float] = {GENERAL: 0.35, "character": 0.85}
"""Least confidence by category; 0.5 for any other."""
_OTHERWISE = 0.5
ONE_AT_MOST = frozenset({"species", "colour", "accessory", "background", "style"})
"""Categories of which a picture has one tag or none."""
UNUSED = frozenset({"rating", "meta"})
"""Categories that say nothing of what is to be seen."""


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


class ClassifierTagger:
    """A multi-label image classifier in the layout of the transformers library: one sigmoid a tag.

    Args:
        name: what stands for the tagger in names of scores.
        folder: ``config.json``, weights, ``preprocessor_config.json``, and ``selected_tags.csv`` or ``id2label``.
        device: where it runs.
        thresholds: category -> least confidence in (0, 1), over `THRESHOLDS`.
        batch_size: pictures at a time.

    Raises:
        InputError: a file is missing or does not fit the others, or a threshold has no such category.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        device: str | torch.device = "cpu",
        thresholds: Mapping[str, float] | None = None,
        batch_size: int = 32,
    ) -> None:
        import torch

        from lycoris.encoders import read_preprocessing

        self.name = name
        self.folder = folder
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.labels = read_labels(folder)
        self.categories = {label.tag: label.category for label in self.labels if label.category not in UNUSED}
        self.thresholds = _thresholds(self.labels, thresholds or {})
        self.preprocessing = read_preprocessing(folder)
        self.model = _load(folder, len(self.labels)).to(self.device)
        self.digest = tagger_digest(folder, thresholds=thresholds)

    def tags(self, images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """For each picture its tags with confidence in [0, 1], best first, in the order of `images`."""
        if not images:
            return []
        from lycoris.encoders.batches import encode_batches

        logits = encode_batches(
            self._see,
            images,
            self.preprocessing,
            mode="resize",
            batch_size=self.batch_size,
            device=self.device,
        )
        return [choose(row, self.labels, self.thresholds) for row in logits.sigmoid().tolist()]

    def _see(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch tags"]:
        return self.model(pixel_values=pixels).logits


def choose(confidences: Sequence[float], labels: Sequence[Label], thresholds: Mapping[str, float]) -> dict[str, float]:
    """The tags of one picture, best first: those above their category's threshold, of `ONE_AT_MOST` the best.

    Args:
        confidences: in [0, 1], one a label.
        labels: in the same order.
        thresholds: category -> least confidence.
    """
    kept: dict[str, float] = {}
    taken: set[str] = set()
    for confidence, label in sorted(zip(confidences, labels, strict=True), key=lambda pair: (-pair[0], pair[1].tag)):
        if label.category in UNUSED or confidence < thresholds[label.category]:
            continue
        if label.category in ONE_AT_MOST:
            if label.category in taken:
                continue
            taken.add(label.category)
        kept[label.tag] = round(confidence, 4)
    return kept


def open_tagger(
    source: str | Path = POCKET,
    device: str | torch.device = "cpu",
    thresholds: Mapping[str, float] | None = None,
) -> Tagger:
    """A tagger by name.

    Args:
        source: ``"pocket"`` for the embedded one; ``"sidecar"`` for the text files beside the pictures; a folder
            or a hub name of a multi-label image classifier.
        device: where it runs; ``"auto"`` takes a GPU where there is one.
        thresholds: category -> least confidence, over `THRESHOLDS`.

    Raises:
        InputError: there is no such tagger, or its files do not fit.
    """
    if str(source) == SIDECAR:
        return SidecarTagger()
    import torch

    name, folder = _locate(source)
    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return ClassifierTagger(name, folder, device, thresholds)


def tagger_digest(source: str | Path = POCKET, thresholds: Mapping[str, float] | None = None) -> str:
    """The sha256 over a tagger's files and thresholds, in hexadecimal, without opening it.

    Of ``"sidecar"`` it is that of its name: what the files beside the pictures hold is read anew each time.

    Raises:
        InputError: there is no such tagger.
    """
    if str(source) == SIDECAR:
        return SidecarTagger.digest
    from lycoris.encoders.source import digest

    _, folder = _locate(source)
    whole = hashlib.sha256(digest(folder).encode())
    if (folder / LIST).is_file():
        whole.update((folder / LIST).read_bytes())
    whole.update(repr(sorted((thresholds or {}).items())).encode())
    return whole.hexdigest()


def _locate(source: str | Path) -> tuple[str, Path]:
    from lycoris.encoders.source import locate

    if str(source) == POCKET:
        from lycoris import pocket

        if not pocket.TAGGER.is_dir():
            raise InputError(f"The embedded tagger is not at `{pocket.TAGGER}`: is the repository complete?")
        return POCKET, pocket.TAGGER
    if "/" not in str(source) and not Path(source).exists():
        raise unknown("tagger", source, [POCKET, SIDECAR])
    name, folder = locate(source)
    if not folder.is_dir():
        raise InputError(f"Argument `source` must be the folder of a tagger, but `{source}` is a file.")
    if not Path(source).exists() and not (folder / LIST).is_file():
        _fetch_list(str(source))
    return name, folder


def _fetch_list(name: str) -> None:
    """Ask the hub for the tag list that some taggers have; `locate` fetches only what every network has."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled

    try:
        hf_hub_download(name, LIST)
    except (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, OSError):
        return  # the labels are in config.json then; if they are not there either, `read_labels` says so


def _thresholds(labels: Sequence[Label], given: Mapping[str, float]) -> dict[str, float]:
    known = {label.category for label in labels}
    for category, value in given.items():
        if category not in known:
            raise unknown("tag category", category, known)
        if not 0 < value < 1:
            raise InputError(f"The threshold of `{category}` must be in (0, 1), but got {value}.")
    return {category: given.get(category, THRESHOLDS.get(category, _OTHERWISE)) for category in known}


def _load(folder: Path, count: int) -> Any:
    import torch
    from transformers import AutoModelForImageClassification
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, info = AutoModelForImageClassification.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise InputError(f"Tagger folder `{folder}` could not be opened: {error}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    missing = sorted(str(key) for key in info["missing_keys"])
    if missing:
        raise InputError(f"Tagger folder `{folder}` must hold every weight, but lacks `{missing[0]}`.")
    if model.config.num_labels != count:
        raise InputError(
            f"Tagger folder `{folder}` names {count} tags, but its network has {model.config.num_labels} outputs."
        )
    if model.config.problem_type == "single_label_classification":
        raise InputError(f"Tagger folder `{folder}` holds a classifier into one class, which is no tagger.")
    return model.eval().requires_grad_(False)
