"""An output file is written again when its inputs or its bytes have changed, and only then."""

from __future__ import annotations

import os
from pathlib import Path

from lycoris.cache.outputs import RECORDS_DIR, write_if_changed


def write(folder: Path, inputs: dict[str, int], text: str = "page") -> bool:
    return write_if_changed(folder, "pages/report.html", inputs, lambda: _write(folder, text))


def _write(folder: Path, text: str) -> None:
    (folder / "pages").mkdir(exist_ok=True)
    (folder / "pages" / "report.html").write_text(text)


def test_a_file_is_written_once_for_the_same_inputs_and_again_for_others(tmp_path: Path) -> None:
    assert write(tmp_path, {"scores": 1})
    assert not write(tmp_path, {"scores": 1}, "not written")
    assert (tmp_path / "pages" / "report.html").read_text() == "page"
    assert write(tmp_path, {"scores": 2}, "other")
    assert (tmp_path / "pages" / "report.html").read_text() == "other"
    assert write(tmp_path, {"scores": 1})


def test_a_changed_or_missing_file_is_written_again(tmp_path: Path) -> None:
    write(tmp_path, {})
    file = tmp_path / "pages" / "report.html"
    file.write_text("paqe")
    assert write(tmp_path, {})
    assert file.read_text() == "page"
    file.unlink()
    assert write(tmp_path, {})


def test_a_file_without_a_readable_record_is_written_again(tmp_path: Path) -> None:
    write(tmp_path, {})
    (record,) = (tmp_path / RECORDS_DIR).rglob("*.json")
    for text in ("", "[]", "{}", '{"key": 1, "file": 2}'):
        record.write_text(text)
        assert write(tmp_path, {}), text
    os.remove(record)
    assert write(tmp_path, {})
