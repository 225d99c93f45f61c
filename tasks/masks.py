"""Masks of a concept's images by a segmenter, computed once per image, and written beside the images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lycoris.cache.atomic import atomic_write
from lycoris.cache.keys import source_hash
from lycoris.data.concepts import Concept
from lycoris.data.images import IMAGE_SOURCES, find_mask
from lycoris.errors import InputError
from lycoris.segmentation import Segmenter
from tasks.artifacts import RunContext
from tasks.runtime.tagging import compute_per_image

SEGMENTATION_SOURCES = ("segmentation", "pretrained.py", *IMAGE_SOURCES)
"""Library code that masks depend on."""
MASK_SUFFIX = ".mask.png"


@dataclass(frozen=True)
class ConceptMasks:
    """The masks of a concept's images.

    Attributes:
        masks: image -> its mask as a PNG file's bytes.
        own: images that have a mask of the user.
        without: images in which the segmenter found nothing.
        invalid: path -> reason, of images that cannot be used.
    """

    masks: dict[Path, bytes]
    own: list[Path]
    without: list[Path]
    invalid: dict[Path, str]


def segment_images(context: RunContext, concept: Concept, segmenter: Segmenter, prompt: str | None) -> ConceptMasks:
    """Mask the images of a concept that have no mask; results are cached by the image's bytes.

    Args:
        concept: whose images are masked.
        segmenter: the network.
        prompt: what it searches; None for one that takes no text.
    """
    paths = [image.path for image in concept.images]
    own = [path for path in paths if find_mask(path) is not None]
    rest = [path for path in paths if path not in own]
    inputs = {
        "segmenter": segmenter.digest,
        "threshold": segmenter.threshold,
        "prompt": prompt,
        "code": source_hash(*SEGMENTATION_SOURCES),
    }
    results = compute_per_image(
        context,
        f"masks {concept.name}",
        rest,
        inputs,
        lambda images: [_to_text(mask) for mask in segmenter.masks(images, prompt)],
    )
    valid = [path for path in rest if path not in results.invalid]
    texts = dict(zip(valid, results.values, strict=True))
    masks = {path: base64.b64decode(text) for path, text in texts.items() if text}
    return ConceptMasks(masks, own, [path for path in valid if path not in masks], results.invalid)


def write_masks(masks: ConceptMasks, root: Path) -> list[Path]:
    """Write masks beside their images, as ``name.mask.png``, for `training.mask: file` and for editing.

    Args:
        masks: as returned by `segment_images`.
        root: the data folder. Nothing is written outside it, where the link of a folder leads.

    Returns:
        The files that were written.

    Raises:
        InputError: a file would be outside the data folder, cannot be written, or would be that of two images.
    """
    files = [image.with_name(f"{image.stem}{MASK_SUFFIX}") for image in masks.masks]
    _check_files(files, root)
    for file, content in zip(files, masks.masks.values(), strict=True):
        try:
            with atomic_write(file) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise InputError(f"Mask `{file}` cannot be written: {error.strerror}.") from error
    return files


def _check_files(files: Sequence[Path], root: Path) -> None:
    for number, file in enumerate(files):
        if not file.parent.resolve().is_relative_to(root.resolve()):
            raise InputError(f"Mask `{file}` would be outside `{root}`, because its folder is a link: not written.")
        if file in files[:number]:
            raise InputError(f"Two images share the mask `{file}`: rename one of them.")


def _to_text(mask: Image.Image | None) -> str:
    """A mask as a cached JSON value: a PNG file in base64; empty for none."""
    if mask is None:
        return ""
    buffer = io.BytesIO()
    mask.convert("1").save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
