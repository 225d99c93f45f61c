"""Absolute paths are found in texts that are about to be published; addresses and captions are not paths."""

import pytest

from lycoris.safety.machine_paths import find_machine_path


@pytest.mark.parametrize(
    "text",
    ["/home/ada/x", '{"base": "/srv/models/a.safetensors"}', "see ~/models/x", "C:\\Users\\ada", "D:/models/x",
     "\\\\server\\share", "file:///x", "sqlite:////data/mlflow.db", "(/mnt/a b/c)"],
)  # fmt: skip
def test_paths_are_found(text):
    assert find_machine_path(text) is not None


@pytest.mark.parametrize(
    "text",
    ["someone/model", "https://huggingface.co/a/b/c", "red/blue", "a and/or b", "images/01.png", "1/2", "</b>",
     "data:image/jpeg;base64,/9j/4AAQ/abc", "ratio 3:4", "hub:ada/bear", "`models/loras`", "<lora:x:1> a /b"],
)  # fmt: skip
def test_other_texts_are_not_paths(text):
    assert find_machine_path(text) is None
