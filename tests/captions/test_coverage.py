"""Whether every image has a caption, and what is reported about the captions that the user brought."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lycoris.captions.coverage import check_coverage, coverage_notes
from lycoris.captions.sidecar import Sidecars
from lycoris.errors import InputError


def sidecars(tmp_path: Path, *names: str, text: str = "cat, table") -> tuple[list[Path], Sidecars]:
    images = [tmp_path / f"{number}.png" for number in range(3)]
    for name in names:
        (tmp_path / name).write_text(text)
    return images, Sidecars.read(images)


def sources(tagger: str | None = None, captioner: str | None = None) -> dict[str, Any]:
    return {"tagger": tagger, "captioner": captioner}


@pytest.mark.parametrize("strategies", [("none", "all"), ("adjusted",), ("sentence",)])
def test_an_image_without_a_caption_and_without_a_model_is_an_error_that_says_how(
    tmp_path: Path, strategies: tuple[str, ...]
) -> None:
    images, own = sidecars(tmp_path, "0.txt", "2.caption")
    with pytest.raises(InputError, match=r"1 of 3 images of `mug`.*1\.png.*captions: none") as error:
        check_coverage("mug", images, own, strategies, **sources())
    for way in ("1.txt", "captioner" if "sentence" in strategies else "wd-vit-tagger"):
        assert way in str(error.value)
    check_coverage("mug", images, own, ("none",), **sources())
    check_coverage("mug", images, own, strategies, **sources("wd", "blip"))
    check_coverage("mug", *sidecars(tmp_path, "1.txt"), strategies, **sources())


@pytest.mark.parametrize(
    ("name", "text", "strategies", "models", "note"),
    [
        ("0.txt", "a, b", ("none",), ("wd", None), "1 of 3 images of `mug` have captions, which `captions: none` does"),
        ("0.txt", "a, b", ("all",), ("wd", None), "override those of the tagger `wd`"),
        ("0.txt", "a, b", ("sentence",), (None, "blip"), "counts as tags, which `captions: sentence` does not use"),
        ("0.caption", "a", ("sentence",), (None, "blip"), "a sentence of yours, which replaces the captioner's"),
        ("0.txt", "a, b\nc, d", ("all",), (None, None), "1 of 3 images of `mug` have several captions"),
        (
            "0.txt",
            "__color__ hat, dunder__x__y",
            ("all",),
            (None, None),
            "Wildcards such as `__color__` are not replaced",
        ),
        ("0.txt", "(a:1.2)", ("all",), (None, None), "removed from 1 caption files of `mug`"),
    ],
)
def test_what_happens_to_the_users_captions_is_said(
    tmp_path: Path, name: str, text: str, strategies: tuple[str, ...], models: tuple[str | None, str | None], note: str
) -> None:
    images, own = sidecars(tmp_path, name, text=text)
    notes = coverage_notes("mug", images, own, strategies, **sources(*models))
    assert len(notes) == 1
    assert note in notes[0]


def test_nothing_is_said_of_images_without_captions(tmp_path: Path) -> None:
    assert coverage_notes("mug", *sidecars(tmp_path), ("none", "all", "sentence"), **sources("wd", "blip")) == []
