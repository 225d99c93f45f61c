"""The store of finished stages."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from safetensors import SafetensorError

from lycoris.cache.keys import folder_digest, source_hash, stage_key
from lycoris.cache.store import Store
from lycoris.errors import InputError


def test_a_finished_stage_is_found_again(tmp_path):
    store = Store(tmp_path / "store")
    with store.create("train", {"seed": 1}) as folder:
        (folder / "out").write_text("x")
    found = store.find("train", {"seed": 1})
    assert (found.folder / "out").read_text() == "x"
    assert json.loads((found.folder / "stage.json").read_text())["inputs"] == {"seed": 1}


def test_other_inputs_have_another_key(tmp_path):
    store = Store(tmp_path)
    with store.create("train", {"seed": 1}):
        pass
    assert store.find("train", {"seed": 2}) is None
    assert store.find("images", {"seed": 1}) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_stage_leaves_nothing(tmp_path, error):
    store = Store(tmp_path)
    with pytest.raises(error), store.create("train", {"seed": 1}) as folder:
        (folder / "half").write_text("x")
        raise error
    assert store.find("train", {"seed": 1}) is None
    assert list((tmp_path / "train").iterdir()) == []


def test_a_killed_process_leaves_no_finished_stage(tmp_path):
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from lycoris.cache.store import Store
        with Store(Path(sys.argv[1])).create("train", {"seed": 1}) as folder:
            (folder / "half").write_text("x")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    store = Store(tmp_path)
    assert store.find("train", {"seed": 1}) is None
    assert store.remove_stale() == 1
    assert list((tmp_path / "train").iterdir()) == []


def test_removing_stale_work_leaves_running_work(tmp_path):
    store = Store(tmp_path)
    with store.create("train", {"seed": 1}) as folder:
        assert store.remove_stale() == 0
        assert folder.is_dir()


def test_two_processes_may_finish_the_same_stage(tmp_path):
    store = Store(tmp_path)
    with store.create("train", {"seed": 1}) as first, store.create("train", {"seed": 1}) as second:
        (first / "out").write_text("a")
        (second / "out").write_text("a")
    assert store.find("train", {"seed": 1}) is not None
    assert [p.name for p in (tmp_path / "train").iterdir()] == [stage_key("train", {"seed": 1})]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        sqlite3.OperationalError("database or disk is full"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_is_an_input_error(tmp_path, error):
    with pytest.raises(InputError, match="full"), Store(tmp_path).create("train", {}):
        raise error


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Store(blocked / "store")


def test_keys_do_not_depend_on_the_order_of_inputs():
    assert stage_key("s", {"a": 1, "b": 2}) == stage_key("s", {"b": 2, "a": 1})


def test_a_folder_digest_depends_on_names_and_bytes(tmp_path):
    (tmp_path / "a").write_text("1")
    first = folder_digest(tmp_path)
    os.rename(tmp_path / "a", tmp_path / "b")
    second = folder_digest(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, folder_digest(tmp_path)}) == 3


def test_the_source_hash_ignores_comments_and_docstrings(tmp_path, monkeypatch):
    monkeypatch.setattr("lycoris.cache.keys.PACKAGE_ROOT", tmp_path)
    file = tmp_path / "stage.py"
    versions = []
    for text in ('"""Doc."""\nx = 1\n', "# note\n\nx = 1\n", "x = 2\n"):
        file.write_text(text)
        source_hash.cache_clear()
        versions.append(source_hash("stage.py"))
    source_hash.cache_clear()
    assert versions[0] == versions[1] != versions[2]


HOLD = """
import sys, time
from pathlib import Path
from lycoris.cache.store import Store

with Store(Path(sys.argv[1])).lock("0" * 64):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_excludes_others_and_is_free_once_its_holder_is_killed(tmp_path):
    store = Store(tmp_path)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as holder:
        assert holder.stdout.readline() == "held\n"
        entered = threading.Event()

        def enter():
            with store.lock("0" * 64):
                entered.set()

        waiting = threading.Thread(target=enter)
        waiting.start()
        try:
            with store.lock("1" * 64):  # another key is another lock
                assert not entered.wait(1)
        finally:
            holder.kill()
        assert entered.wait(60)
        waiting.join()
    assert not list((tmp_path / ".locks").iterdir())


def test_the_lock_file_of_a_killed_holder_is_removed_and_that_of_a_running_one_is_not(tmp_path):
    store = Store(tmp_path)
    (tmp_path / ".locks").mkdir()
    (tmp_path / ".locks" / f"{'1' * 64}.lock").touch()
    with store.lock("0" * 64):
        store.remove_stale()
        assert [file.name for file in (tmp_path / ".locks").iterdir()] == [f"{'0' * 64}.lock"]


def damaged(file, how):
    content = bytearray(file.read_bytes())
    if how == "a flipped bit":
        content[len(content) // 2] ^= 16
    elif how == "cut off":
        del content[-1]
    before = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # a disk that rots changes no time
    if how == "gone":
        file.unlink()


@pytest.mark.parametrize("how", ["a flipped bit", "cut off", "gone"])
@pytest.mark.parametrize("name", ["a/000.png", "stage.json"])
def test_a_damaged_stage_counts_as_missing_and_is_logged(tmp_path, how, name, caplog):
    store = Store(tmp_path)
    with store.create("images", {"seed": 1}) as folder:
        (folder / "a").mkdir()
        (folder / "a" / "000.png").write_bytes(b"x" * 1000)
    folder_in_store = tmp_path / "images" / stage_key("images", {"seed": 1})
    if name == "stage.json" and how == "a flipped bit":
        (folder_in_store / name).write_bytes((folder_in_store / name).read_bytes().replace(b'"', b"\xff", 1))
    else:
        damaged(folder_in_store / name, how)
    assert store.find("images", {"seed": 1}) is None
    assert bool(caplog.messages) == ((name, how) != ("stage.json", "gone"))
    assert all(name in message for message in caplog.messages)
    with store.create("images", {"seed": 1}) as folder:
        (folder / "new").write_text("x")
    assert (store.find("images", {"seed": 1}).folder / "new").read_text() == "x"


def test_a_stage_without_checksums_counts_as_missing(tmp_path, caplog):
    store = Store(tmp_path)
    with store.create("images", {"seed": 1}) as folder:
        (folder / "out").write_text("x")
    file = tmp_path / "images" / stage_key("images", {"seed": 1}) / "stage.json"
    record = json.loads(file.read_text())
    del record["files"]
    file.write_text(json.dumps(record))
    assert store.find("images", {"seed": 1}) is None
    assert "`stage.json` cannot be read" in caplog.text
