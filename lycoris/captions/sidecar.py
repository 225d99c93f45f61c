"""Text files next to the images, as kohya's tools write them: tags in ``01.txt``, a sentence in ``01.caption``."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from lycoris.errors import InputError

SIDECAR = "sidecar"
TAGS_SUFFIX = ".txt"
SENTENCE_SUFFIX = ".caption"
_TAG_PATTERN = re.compile(r"(?:\\[(),\[\]\\]|[^,\r\n])+")
_ESCAPE_PATTERN = re.compile(r"\\([(),\[\]\\])")


class SidecarTagger:
    """The tags in the text file next to each image, all with confidence 1.

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
    """The sentences in ``01.caption`` next to ``01.png``, or in ``01.txt`` where the former does not exist.

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
    """Read the sentence next to each image, on one line, in the order of the images.

    Raises:
        InputError: an image has neither file, or the file is not UTF-8 text.
    """
    files = []
    for image_file in image_files:
        sentence_file = Path(image_file).with_suffix(SENTENCE_SUFFIX)
        files.append(sentence_file if sentence_file.is_file() else Path(image_file).with_suffix(TAGS_SUFFIX))
    _check_all_exist(files, "no sentence", "captioner")
    return [" ".join(_read_text(file).split()) for file in files]


def read_sidecar_tags(image_files: Sequence[Path]) -> list[dict[str, float]]:
    r"""Read the tags next to each image, in the order of the images.

    Tags are separated by commas or line breaks; a comma or bracket inside a tag is escaped with a backslash. A tag that
    occurs twice counts once. An empty file means no tags.

    Returns:
        Tag -> 1.0 for each image, in the order of the file.

    Raises:
        InputError: an image has no text file, or the file is not UTF-8 text.
    """
    files = [Path(image_file).with_suffix(TAGS_SUFFIX) for image_file in image_files]
    _check_all_exist(files, "no tags", "tagger")
    return [dict.fromkeys(parse_tags(_read_text(file)), 1.0) for file in files]


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


def write_sidecar_tags(image_files: Sequence[Path], tags: Sequence[Mapping[str, float]]) -> list[Path]:
    """Write the tags of images next to them, for editing; existing files are left unchanged.

    Returns:
        The files that were written.

    Raises:
        InputError: a file cannot be written, or two images would share one.
    """
    written = []
    files = [Path(image_file).with_suffix(TAGS_SUFFIX) for image_file in image_files]
    _check_distinct(files)
    for file, own in zip(files, tags, strict=True):
        try:
            with file.open("x", encoding="utf-8") as stream:
                stream.write(format_tags(own) + "\n")
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(f"Tag file `{file}` cannot be written: {error.strerror}.") from error
        written.append(file)
    return written


def _image_files(images: Sequence[Image.Image]) -> list[Path]:
    if any(not image.info.get("file") for image in images):
        raise InputError(f"`{SIDECAR}` reads files next to images, but got an image without a file.")
    return [Path(image.info["file"]) for image in images]


def _check_all_exist(files: Sequence[Path], absent: str, role: str) -> None:
    _check_distinct(files)
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(files)} images have {absent} next to them, such as `{missing[0]}`: write the "
            f"missing files (an empty one means {absent}) or choose a {role} other than `{SIDECAR}`."
        )


def _check_distinct(files: Sequence[Path]) -> None:
    repeated = next((file for file, count in Counter(files).items() if count > 1), None)
    if repeated is not None:
        raise InputError(f"Two images share the text file `{repeated}`: rename one of them.")


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"Tag file `{file}` must be UTF-8 text, but byte {error.start} is not.") from error
