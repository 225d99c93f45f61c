"""What the page of `lycoris score` depends on."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from flows.config.scoring import ScoringTarget
from flows.score import content_key
from lycoris.data.concepts import Concept

BEAR = Concept("bear", "toys", "sks", "toy", "toy", None, (), (), ())


def test_images_in_folders_of_prompt_types_and_captions_are_content_of_a_scored_folder(tmp_path: Path) -> None:
    file = tmp_path / "trigger" / "0.png"
    file.parent.mkdir()
    target = ScoringTarget("mine", tmp_path, "bear", "none", {})

    def key(colour: str, caption: str) -> str:
        Image.new("RGB", (8, 8), colour).save(file)
        file.with_suffix(".txt").write_text(caption)
        return content_key(target, BEAR)

    first = key("red", "a sks toy")
    assert key("red", "a sks toy") == first
    assert len({first, key("blue", "a sks toy"), key("red", "a sks toy in snow")}) == 3
