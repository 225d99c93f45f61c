"""Hashes of source files are remembered between processes, and computed again wherever what is remembered is no use."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lycoris.cache import keys
from lycoris.cache.keys import source_hash


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """The sources that are parsed; the package is a file `stage.py`, and each hash is as of a new process."""
    monkeypatch.setattr("lycoris.cache.keys.PACKAGE_ROOT", tmp_path)
    monkeypatch.setattr("lycoris.cache.keys.SOURCE_HASHES", tmp_path / "sources.json")
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    parsed = []
    monkeypatch.setattr("lycoris.cache.keys._source_form", lambda source: parsed.append(source) or source.decode())
    (tmp_path / "stage.py").write_text("x = 1\n")
    yield parsed
    source_hash.cache_clear()


def hash_in_another_process():
    source_hash.cache_clear()
    return source_hash("stage.py")


def test_unchanged_sources_are_parsed_by_one_process_only(tmp_path, parsed):
    first = hash_in_another_process()
    assert hash_in_another_process() == first
    assert len(parsed) == 1
    (tmp_path / "stage.py").write_text("x = 2\n")
    assert hash_in_another_process() != first
    assert len(parsed) == 2


def test_damaged_hashes_of_sources_are_ignored_and_replaced(tmp_path, parsed):
    file = tmp_path / "sources.json"
    first = hash_in_another_process()
    whole = file.read_text()
    (entry,) = json.loads(whole).items()
    name, (read, form) = entry
    damages = [
        whole[:-9], "", "null", "[]", "[" * 100_000, "\0" * 40, json.dumps({name: read}), json.dumps({name: [read]}),
        json.dumps({name: [read, 5]}), json.dumps({name: [read, 5, form]}), json.dumps({name: [read, form[:-1]]}),
        json.dumps({name: [read, form.replace(form[0], "g")]}), json.dumps({name: {"read": read, "form": form}}),
    ]  # fmt: skip
    for damage in damages:
        file.write_text(damage)
        assert hash_in_another_process() == first, damage[:99]
        assert file.read_text() == whole
    assert len(parsed) == 1 + len(damages)
    file.write_bytes(b"\xff\xfe")
    assert (hash_in_another_process(), file.read_text()) == (first, whole)


def test_hashes_of_sources_by_another_version_of_the_module_are_not_used(tmp_path, parsed, monkeypatch):
    hash_in_another_process()
    changed = tmp_path / "keys.py"
    changed.write_bytes(Path(keys.__file__).read_bytes() + b"# another version\n")
    monkeypatch.setattr(keys, "__file__", str(changed))
    hash_in_another_process()
    assert len(parsed) == 2


def test_sources_are_hashed_where_nothing_can_be_written(tmp_path, parsed, monkeypatch):
    first = hash_in_another_process()
    for place in (tmp_path / "stage.py" / "sources.json", tmp_path):  # below a file, and a folder
        monkeypatch.setattr("lycoris.cache.keys.SOURCE_HASHES", place)
        assert hash_in_another_process() == first
    assert len(parsed) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"stage.py", "sources.json"}


def test_processes_that_hash_sources_at_once_agree(tmp_path):
    names = [f"stage{number}.py" for number in range(20)]
    for name in names:
        (tmp_path / name).write_text(f"x = '{name}'\n")
    code = f"""
from pathlib import Path
from lycoris.cache import keys
keys.PACKAGE_ROOT = Path({str(tmp_path)!r})
keys.SOURCE_HASHES = keys.PACKAGE_ROOT / "sources.json"
keys.sys.dont_write_bytecode = False
print([keys.source_hash(name) for name in {names}])
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(outputs)) == 1
    hashes = dict(zip(names, ast.literal_eval(outputs[0]), strict=True))
    remembered = json.loads((tmp_path / "sources.json").read_text())
    assert remembered
    assert all(hashes[name] == own[1] for name, own in remembered.items())
