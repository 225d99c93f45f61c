"""Nothing is written through a link that somebody else has put where a file is to be written."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lycoris.cache.atomic import atomic_dir, atomic_write, atomic_write_text, check_writable, open_log
from lycoris.cache.store import Store

ROOT = Path(__file__).parents[2]
NEW_FOLDERS = {
    "flows/studies/benchmark.py", "lycoris/adapters/files/safetensors_io.py", "lycoris/cache/atomic.py",
    "lycoris/cache/remote.py", "lycoris/cache/store.py", "lycoris/pocket/world/concept_images.py",
    "lycoris/training/memory_profiling.py", "tasks/data_versions/checkout.py", "tasks/generate.py", "tasks/score.py",
    "tasks/runtime/adapter_training.py", "tasks/tracking/models.py", "tasks/publish.py", "tasks/masks.py",
    "lycoris/publishing/folder.py", "tasks/strength.py", "tasks/runtime/process_group.py",
}  # fmt: skip
"""Modules that write only into a folder which they or `atomic_dir` have just made, or files of the system."""


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of the user's outside of the folder that is written to."""
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_text("precious")
    return tmp_path / "victim"


@pytest.mark.parametrize("dangling", [False, True])
def test_a_planted_link_is_replaced_or_refused(victim: Path, dangling: bool) -> None:
    target = victim.with_name("new") if dangling else victim
    out = victim.parent / "out"
    for name in ("text", "file", "log", "appended"):
        (out / name).symlink_to(target)
    atomic_write_text(out / "text", "x")
    with atomic_write(out / "file") as temporary:
        temporary.write_text("x")
    for name, append in (("log", False), ("appended", True)):
        with pytest.raises(OSError), open_log(out / name, append=append):
            pass
    assert victim.read_text() == "precious"
    assert not victim.with_name("new").exists()
    assert (out / "text").read_text() == (out / "file").read_text() == "x"


def test_a_folder_is_never_filled_through_a_link(victim: Path) -> None:
    (victim.parent / "elsewhere").mkdir()
    (victim.parent / "out" / "folder").symlink_to(victim.parent / "elsewhere")
    with pytest.raises(OSError), atomic_dir(victim.parent / "out" / "folder") as temporary:
        (temporary / "a").write_text("x")
    assert list((victim.parent / "elsewhere").iterdir()) == []


def test_the_check_that_a_folder_can_be_written_leaves_nothing_and_follows_no_link(victim: Path) -> None:
    out = victim.parent / "out"
    for name in (".probe", ".probe-0", "probe"):
        (out / name).symlink_to(victim)
    before = sorted(out.iterdir())
    check_writable(out)
    Store(out)
    assert sorted(out.iterdir()) == before
    assert victim.read_text() == "precious"


def test_a_log_is_private_and_is_replaced_or_continued(tmp_path: Path) -> None:
    for append, content in ((False, b"b"), (True, b"bb")):
        with open_log(tmp_path / "log", append=append) as stream:
            stream.write(b"b")
        assert (tmp_path / "log").read_bytes() == content
        assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_only_modules_with_a_folder_of_their_own_write_by_name() -> None:
    writers = set()
    for folder in ("flows", "tasks", "lycoris"):
        for file in (ROOT / folder).rglob("*.py"):
            name = file.relative_to(ROOT).as_posix()
            if any(_writes_by_name(node) for node in ast.walk(ast.parse(file.read_bytes()))):
                writers.add(name)
    assert {name for name in writers if "/pocket/training/" not in name} <= NEW_FOLDERS


def _writes_by_name(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    method = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if method in ("write_text", "write_bytes"):
        return True
    if method in ("to_csv", "to_json"):
        return bool(node.args)
    modes = [value.value for value in (*node.args, *(each.value for each in node.keywords)) if _is_text(value)]
    return method == "open" and any(set(mode) <= set("rwabt+") and set(mode) & set("wa") for mode in modes)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
