"""Prompts and captions that the user wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lycoris.captions import PromptSpec, read_captioned_images, read_prompts
from lycoris.data.concepts import Concept
from lycoris.data.prompt_spec import prompts_are_known
from lycoris.errors import InputError

Build = Callable[..., Concept]


def test_each_line_is_a_prompt_with_an_optional_placeholder(concept: Build, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("{concept} on a beach\n\na cat beside a sks creature\na dog\n")
    result = read_prompts(tmp_path / "prompts.txt", concept(3), images_per_prompt=2)
    assert result == {
        "alter": [
            PromptSpec("a sks creature on a beach", "a purple bear on a beach", 1000, 0),
            PromptSpec("a sks creature on a beach", "a purple bear on a beach", 1001, 0),
            PromptSpec("a cat beside a sks creature", "a cat beside a purple bear", 1002, 1),
            PromptSpec("a cat beside a sks creature", "a cat beside a purple bear", 1003, 1),
            PromptSpec("a dog", "a dog", 1004, 2),
            PromptSpec("a dog", "a dog", 1005, 2),
        ]
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"altr": ["x"]}', "Did you mean `alter`"),
        ("a.json", '{"alter": []}', "texts under `alter`"),
        ("a.yaml", "- x", "must map prompt types"),
        ("a.txt", "\n", "texts under `alter`"),
    ],
)
def test_errors_name_the_invalid_file(concept: Build, tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_prompts(tmp_path / name, concept(3))
    with pytest.raises(InputError, match="cannot be read"):
        read_prompts(tmp_path / "nothing.txt", concept(3))


def write(folder: Path, captions: list[str]) -> None:
    folder.mkdir(parents=True)
    for number, caption in enumerate(captions):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"{caption}\n")


def test_images_are_read_with_their_captions(concept: Build, tmp_path: Path) -> None:
    write(tmp_path / "flat", ["a sks creature, hat", "a cat", "a cat"])
    files, prompts = read_captioned_images(tmp_path / "flat", concept(3), seed=5)
    assert [file.name for file in files["train"]] == ["0.png", "1.png", "2.png"]
    assert prompts["train"] == [
        PromptSpec("a sks creature, hat", "a purple bear, hat", 5, 0), PromptSpec("a cat", "a cat", 6, 1),
        PromptSpec("a cat", "a cat", 7, 1),
    ]  # fmt: skip
    for kind in ("alter", "style"):
        write(tmp_path / "kinds" / kind, ["a cat"])
    assert list(read_captioned_images(tmp_path / "kinds", concept(3))[1]) == ["alter", "style"]


def test_images_beside_the_folders_of_prompt_types_count_as_train(concept: Build, tmp_path: Path) -> None:
    write(tmp_path / "mixed", ["a cat", "a dog"])
    write(tmp_path / "mixed" / "trigger", ["a hat"])
    write(tmp_path / "mixed" / "train", ["a tree"])
    files, prompts = read_captioned_images(tmp_path / "mixed", concept(3))
    assert {kind: [prompt.text for prompt in some] for kind, some in prompts.items()} == {
        "train": ["a cat", "a dog", "a tree"],
        "trigger": ["a hat"],
    }
    assert [file.parent.name for file in files["train"]] == ["mixed", "mixed", "train"]


def test_images_of_a_run_keep_their_prompts_and_seeds(concept: Build, tmp_path: Path) -> None:
    write(tmp_path / "run" / "alter", ["no"])
    entry = {"text": "a sks creature", "evaluation": "a bear", "seed": 77, "group": 3}
    (tmp_path / "run" / "prompts.json").write_text(json.dumps({"alter": [entry]}))
    assert read_captioned_images(tmp_path / "run", concept(3))[1] == {"alter": [PromptSpec(**entry)]}


def test_prompts_of_a_type_with_an_image_without_caption_are_unknown(concept: Build, tmp_path: Path) -> None:
    write(tmp_path / "some", ["a cat", "a dog"])
    write(tmp_path / "some" / "style", ["a hat"])
    (tmp_path / "some" / "0.txt").unlink()
    files, prompts = read_captioned_images(tmp_path / "some", concept(3), seed=5)
    assert [file.name for file in files["train"]] == ["0.png", "1.png"]
    assert prompts["train"] == [PromptSpec("", "", 5), PromptSpec("", "", 6)]
    assert not prompts_are_known(prompts["train"])
    assert prompts_are_known(prompts["style"])


def test_a_folder_without_images_is_an_error(concept: Build, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        read_captioned_images(tmp_path / "none", concept(3))
