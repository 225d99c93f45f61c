"""Text files with captions: their encoding, and what separates several captions of one image."""

from __future__ import annotations

import re
from pathlib import Path

from lycoris.errors import InputError

MAX_TAG_WORDS = 4
"""A line of more words, or with a comma, is a caption of its own; a shorter one is a tag."""
_COMMA_PATTERN = re.compile(r"(?<!\\),")


def read_text(file: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: the file cannot be read, or is in another encoding.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"Text file `{file}` must be UTF-8 text, but byte {error.start} is not: save it in that encoding."
        ) from error
    except OSError as error:
        raise InputError(f"Text file `{file}` cannot be read: {error.strerror}.") from error
    if "\0" in text:
        raise InputError(f"Text file `{file}` must be UTF-8 text, but has zero bytes: is it UTF-16?")
    return text


def split_captions(text: str) -> tuple[str, ...]:
    """Split a text into the captions of an image: one per line, if every line is a caption by itself.

    A line is a caption if it has tags separated by a comma, or more than `MAX_TAG_WORDS` words. Otherwise line breaks
    separate tags, or the parts of one sentence, and the text is one caption.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(_is_caption(line) for line in lines):
        return tuple(dict.fromkeys(lines))
    return (text.strip(),)


def _is_caption(line: str) -> bool:
    return len(line.split()) > MAX_TAG_WORDS or _COMMA_PATTERN.search(line.rstrip(", ")) is not None
