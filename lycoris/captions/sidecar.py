"""Captions that the user has: tags and sentences in files beside the images or in a table of a folder."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from lycoris.captions.prompt_syntax import expand_alternatives, has_wildcard, remove_weights
from lycoris.data.caption_files import CaptionFiles, find_caption_files
from lycoris.data.caption_tables import CaptionSource
from lycoris.errors import InputError

SIDECAR = "sidecar"
TAGS_SUFFIX = ".txt"
_TAG_PATTERN = re.compile(r"(?:\\[(),\[\]\\]|[^,\r\n])+")
_ESCAPE_PATTERN = re.compile(r"\\([(),\[\]\\])")


@dataclass(frozen=True)
class Sidecars:
    """The captions that files hold of some images; see `lycoris.data.caption_files` for their forms.

    An image has several captions if its file has several lines that are captions, a list, several rows of a table, or
    alternatives such as ``{red|blue}``.
    """

    files: CaptionFiles

    @classmethod
    def read(cls, images: Sequence[Path], root: Path | None = None) -> Sidecars:
        """Read the captions of images.

        Args:
            images: the images; they need not exist.
            root: the data folder; None looks into the images' own folders only.

        Raises:
            InputError: a file is not UTF-8 text or malformed, or two images share one.
        """
        return cls(find_caption_files(images, root))

    def tags(self, image: Path) -> tuple[dict[str, float], ...] | None:
        """Tag -> 1.0, for each caption of an image, in the order of the file; None if no file has any."""
        source = self.files.tags(image)
        if source is None:
            return None
        return tuple(dict.fromkeys(parse_tags(text), 1.0) for text in _texts(source))

    def sentences(self, image: Path) -> tuple[str, ...] | None:
        """The sentences of an image, each on one line; None if no file has any."""
        source = self.files.sentence(image)
        return None if source is None else tuple(" ".join(text.split()) for text in _texts(source))

    def of(self, image: Path) -> Sequence[CaptionSource]:
        """What files say of an image."""
        return self.files.sources.get(image, ())

    def has_sentence(self, image: Path) -> bool:
        """Whether a file holds a caption of an image that is more than tags, so that it replaces a captioner's."""
        source = self.files.sentence(image)
        return source is not None and (
            source.kind == "sentence" or (source.kind == "text" and source.file.suffix.casefold() != TAGS_SUFFIX)
        )

    @cached_property
    def weighted(self) -> list[Path]:
        """The files in which weights such as ``(hat:1.2)`` were removed."""
        return self._files_with(lambda text: remove_weights(text) != text)

    @cached_property
    def with_wildcards(self) -> list[Path]:
        """The files in which wildcards such as ``__color__`` are left as they are."""
        return self._files_with(has_wildcard)

    def _files_with(self, is_meant: Callable[[str], bool]) -> list[Path]:
        sources = [source for own in self.files.sources.values() for source in own]
        return sorted({one.file for one in sources if any(map(is_meant, one.texts))})


def _texts(source: CaptionSource) -> list[str]:
    plain = [remove_weights(text) for text in source.texts]
    return list(
        dict.fromkeys(each for text in plain for each in expand_alternatives(text, f"Caption file `{source.file}`"))
    )


class SidecarTagger:
    """The tags in the file next to each image, all with confidence 1.

    Images must come from `lycoris.data.images.read_image`, which stores their path in ``info["file"]``.
    """

    name = SIDECAR
    digest = hashlib.sha256(SIDECAR.encode()).hexdigest()
    """The hash of the name; the files are read anew each time, see `read_sidecar_tags`."""
    categories: Mapping[str, str] = {}

    def tags(self, images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Read the tags of each image.

        Raises:
            InputError: an image does not come from a file, or has no text file.
        """
        return read_sidecar_tags(_image_files(images))


class SidecarCaptioner:
    """The sentence in a file next to each image: ``01.caption``, or else ``01.txt`` or another form.

    Images must come from `lycoris.data.images.read_image`, which stores their path in ``info["file"]``.
    """

    name = SIDECAR
    digest = hashlib.sha256(SIDECAR.encode()).hexdigest()

    def sentences(self, images: Sequence[Image.Image]) -> list[str]:
        """Read the sentence of each image, on one line.

        Raises:
            InputError: an image does not come from a file, or has no text file.
        """
        return read_sidecar_sentences(_image_files(images))


def read_sidecar_sentences(image_files: Sequence[Path]) -> list[str]:
    """Read the sentence of each image, on one line, in the order of the images; the first one of several.

    Raises:
        InputError: an image has no caption file, or the file is not UTF-8 text.
    """
    sidecars = Sidecars.read(image_files)
    sentences = [sidecars.sentences(image) for image in image_files]
    _check_all_exist(image_files, sentences, "no sentence", "captioner")
    return [texts[0] for texts in sentences if texts is not None]


def read_sidecar_tags(image_files: Sequence[Path]) -> list[dict[str, float]]:
    r"""Read the tags of each image, in the order of the images; the first ones if it has several captions.

    Tags are separated by commas or line breaks; a comma or bracket inside a tag is escaped with a backslash. A tag that
    occurs twice counts once. An empty file means no tags.

    Returns:
        Tag -> 1.0 for each image, in the order of the file.

    Raises:
        InputError: an image has no caption file, or the file is not UTF-8 text.
    """
    sidecars = Sidecars.read(image_files)
    tags = [sidecars.tags(image) for image in image_files]
    _check_all_exist(image_files, tags, "no tags", "tagger")
    return [own[0] for own in tags if own is not None]


def parse_tags(text: str) -> list[str]:
    """Parse the distinct tags in a sidecar file's text: ``r"red hat, saber \\(fate\\)"`` holds two."""
    joined = " ".join(",".join(text.splitlines()).split())
    if "\\" in joined:
        parts = [_ESCAPE_PATTERN.sub(r"\1", part.strip()) for part in _TAG_PATTERN.findall(joined)]
    else:
        parts = [part.strip() for part in joined.split(",")]
    return [part for part in dict.fromkeys(parts) if part]


def format_tags(tags: Iterable[str]) -> str:
    """Format tags so that `parse_tags` reads them back."""
    return ", ".join(tag.replace("\\", "\\\\").replace(",", "\\,") for tag in tags)


def write_sidecar_tags(
    image_files: Sequence[Path], tags: Sequence[Mapping[str, float]], root: Path | None = None
) -> list[Path]:
    """Write the tags of images next to them, for editing; images with a caption in any form are left as they are.

    Args:
        image_files: the images.
        tags: tag -> confidence, for each image.
        root: the data folder. Nothing is written outside it, where the link of a folder leads.

    Returns:
        The files that were written.

    Raises:
        InputError: a file cannot be written, or two images would share one.
    """
    written = []
    files = [Path(image_file).with_suffix(TAGS_SUFFIX) for image_file in image_files]
    _check_distinct(files)
    for file in files:
        if root is not None and not file.parent.resolve().is_relative_to(root.resolve()):
            raise InputError(f"Tag file `{file}` would be outside `{root}`, because its folder is a link: not written.")
    sidecars = Sidecars.read(image_files, root)
    for image, file, own in zip(image_files, files, tags, strict=True):
        if sidecars.tags(image) is not None:
            continue
        try:
            with file.open("x", encoding="utf-8") as stream:
                stream.write(format_tags(own) + "\n")
        except OSError as error:
            raise InputError(f"Tag file `{file}` cannot be written: {error.strerror}.") from error
        written.append(file)
    return written


def _image_files(images: Sequence[Image.Image]) -> list[Path]:
    if any(not image.info.get("file") for image in images):
        raise InputError(f"`{SIDECAR}` reads files next to images, but got an image without a file.")
    return [Path(image.info["file"]) for image in images]


def _check_all_exist(images: Sequence[Path], captions: Sequence[object], absent: str, role: str) -> None:
    missing = [image for image, own in zip(images, captions, strict=True) if own is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(images)} images have {absent} next to them, such as "
            f"`{missing[0].with_suffix(TAGS_SUFFIX)}`: write the missing files (an empty one means {absent}) or choose "
            f"a {role} other than `{SIDECAR}`."
        )


def _check_distinct(files: Sequence[Path]) -> None:
    repeated = next((file for file, count in Counter(files).items() if count > 1), None)
    if repeated is not None:
        raise InputError(f"Two images share the text file `{repeated}`: rename one of them.")
