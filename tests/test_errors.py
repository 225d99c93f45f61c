"""Errors about files and folders that do not exist: the nearest name beside them is suggested."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli.main import main
from lycoris.errors import missing_path_error, nearest_path_hint


def test_the_nearest_entry_beside_a_missing_one_is_suggested(tmp_path: Path) -> None:
    (tmp_path / "photos" / "live").mkdir(parents=True)
    assert str(missing_path_error("data folder", tmp_path / "photo")) == (
        f"There is no data folder `{tmp_path / 'photo'}`. Did you mean `{tmp_path / 'photos'}`?"
    )
    assert nearest_path_hint(tmp_path / "photo" / "live") == f" Did you mean `{tmp_path / 'photos'}`?"
    assert nearest_path_hint(tmp_path / "something-else") == ""
    assert nearest_path_hint(tmp_path / "photos") == "", "it is there"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["run", "--set", "data=photo", "--set", "base=pocket"], "photos"),
        (["extract", "./mybas", "./mybase", "out.safetensors"], "mybase"),
        (["run", "mine.yml"], "mine.yaml"),
        (["captions", "photo"], "photos"),
        (["score", "a.safetensor", "--data", "photos"], "a.safetensors"),
        (["recommend", "photo"], "photos"),
        (["import", "train.tml"], "train.toml"),
    ],
)
def test_commands_suggest_the_name_that_was_meant(words, meant, tmp_path: Path, monkeypatch, capsys) -> None:
    for folder in ("photos/live/cat", "mybase"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("mine.yaml", "a.safetensors", "train.toml"):
        (tmp_path / file).write_text("")
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert f"Did you mean `{meant}`?" in capsys.readouterr().err
