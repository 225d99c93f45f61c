"""Texts beside the pictures, as kohya's tools keep them: tags in ``01.txt``, a sentence in ``01.caption``."""

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
    """The tags that someone wrote: those of the text file beside the picture's file, all of confidence 1.

    Pictures must come from `lycoris.data.images.read_image`, which leaves their path in ``info["file"]``.
    """

    name = SIDECAR
    digest = hashlib.sha256(SIDECAR.encode()).hexdigest()
    """Of the name alone; what the files hold is read anew each time, see `sidecar_tags`."""
    categories: Mapping[str, str] = {}

    def tags(self, images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """For each picture the tags of its file.

        Raises:
            InputError: a picture came from no file, or has no text file beside it, which is named.
        """
        return read_sidecar_tags(_image_files(images))


class SidecarCaptioner:
    """The sentences that someone wrote: ``01.caption`` beside ``01.png`` or, where that is not there, ``01.txt``.

    Pictures must come from `lycoris.data.images.read_image`, which leaves their path in ``info["file"]``.
    """

    name = SIDECAR
    digest = hashlib.sha256(SIDECAR.encode()).hexdigest()

    def sentences(self, images: Sequence[Image.Image]) -> list[str]:
        """For each picture the text of its file, on one line.

        Raises:
            InputError: a picture came from no file, or has no text file beside it, which is named.
        """
        return read_sidecar_sentences(_image_files(images))


def read_sidecar_sentences(image_files: Sequence[Path]) -> list[str]:
    """The sentences in the text files beside pictures, in the order of the pictures, each on one line.

    Args:
        pictures: paths of the picture files.

    Raises:
        InputError: a picture has neither file beside it, or the file is no text in UTF-8; the file is named.
    """
    files = []
    for picture in image_files:
        own = Path(picture).with_suffix(SENTENCE_SUFFIX)
        files.append(own if own.is_file() else Path(picture).with_suffix(TAGS_SUFFIX))
    _check_all_exist(files, "no sentence", "captioner")
    return [" ".join(_read_text(file).split()) for file in files]


def read_sidecar_tags(image_files: Sequence[Path]) -> list[dict[str, float]]:
    """The tags in the text files beside pictures, in the order of the pictures.

    Tags stand between commas or on lines of their own; a comma or bracket that belongs to a tag has a backslash
    before it. A tag that comes twice counts once. An empty file means no tags.

    Args:
        pictures: paths of the picture files.

    Returns:
        tag -> 1.0 for each picture, in the order of the file.

    Raises:
        InputError: a picture has no text file beside it, or the file is no text in UTF-8; the file is named.
    """
    files = [Path(picture).with_suffix(TAGS_SUFFIX) for picture in image_files]
    _check_all_exist(files, "no tags", "tagger")
    return [dict.fromkeys(parse_tags(_read_text(file)), 1.0) for file in files]


def parse_tags(text: str) -> list[str]:
    """The tags of a sidecar file's text, without doubles: ``r"red hat, saber \\(fate\\)"`` holds two."""
    joined = " ".join(",".join(text.splitlines()).split())
    if "\\" in joined:
        parts = [_ESCAPE_PATTERN.sub(r"\1", part.strip()) for part in _TAG_PATTERN.findall(joined)]
    else:
        parts = [part.strip() for part in joined.split(",")]
    return [part for part in dict.fromkeys(parts) if part]


def format_tags(tags: Iterable[str]) -> str:
    """The text of a sidecar file that `parse_tags` reads as these tags."""
    return ", ".join(tag.replace("\\", "\\\\").replace(",", "\\,") for tag in tags)


def write_sidecar_tags(image_files: Sequence[Path], tags: Sequence[Mapping[str, float]]) -> list[Path]:
    """Write the tags of pictures beside them, to be edited; a file that is there is left as it is.

    Returns:
        The files that were written.

    Raises:
        InputError: a file cannot be written, or two pictures would share one.
    """
    written = []
    _check_distinct([Path(picture).with_suffix(TAGS_SUFFIX) for picture in image_files])
    for picture, seen in zip(image_files, tags, strict=True):
        file = Path(picture).with_suffix(TAGS_SUFFIX)
        try:
            with file.open("x", encoding="utf-8") as stream:
                stream.write(format_tags(seen) + "\n")
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(f"Tag file `{file}` cannot be written: {error.strerror}.") from error
        written.append(file)
    return written


def _image_files(images: Sequence[Image.Image]) -> list[Path]:
    if any(not image.info.get("file") for image in images):
        raise InputError(f"`{SIDECAR}` reads files beside pictures, but got a picture without a file.")
    return [Path(image.info["file"]) for image in images]


def _check_all_exist(files: Sequence[Path], absent: str, role: str) -> None:
    _check_distinct(files)
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(files)} pictures have {absent} beside them, such as `{missing[0]}`: write the "
            f"missing files (an empty one means {absent}) or choose a {role} other than `{SIDECAR}`."
        )


def _check_distinct(files: Sequence[Path]) -> None:
    twice = next((file for file, count in Counter(files).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"Two pictures share the text file `{twice}`: rename one of them.")


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"Tag file `{file}` must be text in UTF-8, but byte {error.start} is not.") from error
