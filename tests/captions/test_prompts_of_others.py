"""The prompts beside images that somebody else hands on are checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from lycoris.captions.prompt_file import PROMPTS_FILE, read_captioned_images
from lycoris.data.concepts import Concept
from lycoris.errors import InputError

GOOD = {"text": "a bear", "evaluation": "a toy", "seed": 1, "group": 0}


@pytest.mark.parametrize(
    "content",
    [
        "", "[", "[]", "3", '{"other": []}', '{"train": 3}', '{"train": ["a"]}', "\ud800",
        json.dumps({"train": [{**GOOD, "more": 1}]}), json.dumps({"train": [{**GOOD, "text": 3}]}),
        json.dumps({"train": [{**GOOD, "seed": "x"}]}), json.dumps({"train": [{**GOOD, "seed": True}]}),
    ],
)  # fmt: skip
def test_a_damaged_file_of_prompts_is_named(tmp_path: Path, content: str) -> None:
    concept = Concept("bear", "toys", "sks", "toy", "toy", None, (), (), ())
    (tmp_path / "train").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "train" / "000.png")
    (tmp_path / PROMPTS_FILE).write_text(json.dumps({"train": [GOOD]}))
    assert read_captioned_images(tmp_path, concept)[1]["train"][0].text == "a bear"
    (tmp_path / PROMPTS_FILE).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"prompts\.json"):
        read_captioned_images(tmp_path, concept)
