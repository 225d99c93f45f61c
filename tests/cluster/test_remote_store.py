"""The remote store returns what was put, complete or not at all, on any fsspec file system."""

import json
from dataclasses import replace

import pytest

from lycoris.cache.keys import stage_key
from lycoris.cache.remote import RemoteStore
from lycoris.cache.store import RECORD_FILE, Store
from lycoris.errors import InputError
from tasks.artifacts import Artifact, ImageSet, RunContext
from tasks.runtime import progress, retry, transfer
from tasks.runtime.cache import get_or_compute

INPUTS = {"a": 1}
KEY = stage_key("images", INPUTS)


@pytest.fixture(params=["file", "memory"])
def address(request, tmp_path):
    if request.param == "file":
        yield f"file://{tmp_path / 'share'}"
        return
    import fsspec

    yield "memory://lycoris/stages"
    fsspec.filesystem("memory").rm("/lycoris", recursive=True)


def made(root):
    store = Store(root)
    with store.create("images", INPUTS) as folder:
        (folder / "trigger").mkdir()
        (folder / "trigger" / "000.png").write_bytes(b"image")
        (folder / "prompts.json").write_text("{}")
    return store.find("images", INPUTS)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_stage_comes_back_byte_for_byte(address, tmp_path):
    one, share = made(tmp_path / "one"), RemoteStore(address)
    share.check()
    assert not share.fetch(tmp_path / "two", "images", KEY)
    assert share.put(one.folder)
    assert share.contains("images", KEY)
    assert share.fetch(tmp_path / "two", "images", KEY)
    two = Store(tmp_path / "two").find("images", INPUTS)
    assert contents(two.folder) == contents(one.folder)
    assert not list((tmp_path / "two" / "images").glob(".*"))


def test_an_existing_stage_is_not_written_again(address, tmp_path):
    one, share = made(tmp_path / "one"), RemoteStore(address)
    assert share.put(one.folder)
    assert not share.put(one.folder)


def test_a_partial_stage_is_missing_and_is_completed(tmp_path):
    one, share = made(tmp_path / "one"), RemoteStore(f"file://{tmp_path / 'share'}")
    share.put(one.folder)
    record = tmp_path / "share" / "images" / KEY / RECORD_FILE
    for half in (b"", b'{"stage": '):
        record.write_bytes(half)
        assert not share.contains("images", KEY)
        assert not share.fetch(tmp_path / "two", "images", KEY)
        assert share.put(one.folder)
    record.unlink()
    assert not share.fetch(tmp_path / "two", "images", KEY)
    assert share.put(one.folder)
    assert share.fetch(tmp_path / "two", "images", KEY)


def test_leftovers_of_a_killed_fetch_are_removed(tmp_path, monkeypatch):
    one, share = made(tmp_path / "one"), RemoteStore(f"file://{tmp_path / 'share'}")
    share.put(one.folder)
    store = Store(tmp_path / "two")
    monkeypatch.setattr("lycoris.cache.atomic.shutil.rmtree", lambda *_, **__: None)
    monkeypatch.setattr("lycoris.cache.atomic.os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        share.fetch(store.root, "images", KEY)
    monkeypatch.undo()
    monkeypatch.setattr("lycoris.cache.atomic.is_process_running", lambda pid: False)
    assert store.remove_stale() == 1
    assert not list(store.root.glob("images/.*"))


def test_a_partial_local_stage_is_replaced(tmp_path):
    one, share = made(tmp_path / "one"), RemoteStore(f"file://{tmp_path / 'share'}")
    share.put(one.folder)
    half = tmp_path / "two" / "images" / KEY
    half.mkdir(parents=True)
    (half / "left.txt").touch()
    assert share.fetch(tmp_path / "two", "images", KEY)
    assert Store(tmp_path / "two").find("images", INPUTS) is not None
    assert not (half / "left.txt").exists()


@pytest.mark.parametrize(
    ("url", "words"),
    [("nothing://x/y", "not the URL of a remote store"), ("file:///proc/1/nothing", "cannot be written")],
)
def test_an_unusable_url_is_named(url, words):
    with pytest.raises(InputError, match=words):
        RemoteStore(url).check()


def test_passwords_in_urls_are_not_shown():
    with pytest.raises(InputError) as error:
        RemoteStore("nothing://me:hunter2@host/x")
    assert "hunter2" not in str(error.value)


def work(folder, bar):
    (folder / "out.txt").write_text("made")


def test_machines_without_a_common_disk_compute_a_stage_once(tmp_path, monkeypatch):
    share = f"file://{tmp_path / 'share'}"
    one, two = (RunContext(tmp_path / name / "store", artifact_store=share) for name in ("one", "two"))
    first = get_or_compute(one, "images", "x", INPUTS, work)
    second = get_or_compute(two, "images", "x", INPUTS, lambda *_: pytest.fail("computed again"))
    assert (first.cached, second.cached) == (False, True)
    assert second.folder.is_relative_to(two.store)
    third = replace(one, store=tmp_path / "three" / "store")
    assert (transfer.ensure_local(third, first).folder / "out.txt").read_text() == "made"


def test_a_stage_from_before_the_share_is_uploaded_on_request(tmp_path):
    before = RunContext(tmp_path / "one" / "store")
    get_or_compute(before, "images", "x", INPUTS, work)
    share = f"file://{tmp_path / 'share'}"
    assert get_or_compute(replace(before, artifact_store=share), "images", "x", INPUTS, work).cached
    assert RemoteStore(share).contains("images", KEY)


def test_a_damaged_local_stage_is_fetched_again(tmp_path):
    place = RunContext(tmp_path / "store", artifact_store=f"file://{tmp_path / 'share'}")
    first = get_or_compute(place, "images", "x", INPUTS, work)
    (first.folder / "out.txt").write_text("fade")
    again = get_or_compute(place, "images", "x", INPUTS, lambda *_: pytest.fail("computed again"))
    assert again.cached
    assert (again.folder / "out.txt").read_text() == "made"


def test_a_stage_that_is_damaged_in_the_share_is_logged_computed_and_replaced_there(tmp_path, caplog):
    share = tmp_path / "share"
    one, two, three = (
        RunContext(tmp_path / name, artifact_store=f"file://{share}") for name in ("one", "two", "three")
    )
    get_or_compute(one, "images", "x", INPUTS, work)
    (share / "images" / KEY / "out.txt").write_text("fade")
    again = get_or_compute(two, "images", "x", INPUTS, work)
    assert not again.cached
    assert (again.folder / "out.txt").read_text() == "made"
    assert (share / "images" / KEY / "out.txt").read_text() == "made"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"Finished work is damaged and counts as missing: `images/{KEY}` in `file://{share}`."]
    assert get_or_compute(three, "images", "x", INPUTS, work).cached


def test_a_missing_stage_is_named(tmp_path):
    place = RunContext(tmp_path / "store", artifact_store=f"file://{tmp_path / 'share'}")
    with pytest.raises(InputError, match="images/abc"):
        transfer.ensure_local(place, Artifact("abc", tmp_path / "else" / "images" / "abc", True, 0.0))


def test_a_worker_uses_the_store_of_its_environment_and_relays_progress(tmp_path, monkeypatch):
    place = RunContext(tmp_path / "store", tmp_path / "progress", artifact_store=f"file://{tmp_path / 'share'}")
    monkeypatch.setenv(transfer.LOCAL_STORE_VARIABLE, str(tmp_path / "own"))
    assert transfer.local_context(replace(place, artifact_store=None)) == replace(place, artifact_store=None)
    assert transfer.local_context(place).store == tmp_path / "own"
    assert transfer.local_context(place).progress == progress.DaskRelay(str(tmp_path / "progress"))
    (tmp_path / "progress").mkdir()
    assert transfer.local_context(place).progress == tmp_path / "progress"


def test_images_are_uploaded_with_their_masks_under_their_names(tmp_path):
    from PIL import Image

    data = tmp_path / "data"
    for name in ("a/x.png", "b/x.png", "a/x.mask.png"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (len(name), 0, 0)).save(data / name)
    place = RunContext(tmp_path / "one" / "store", artifact_store=f"file://{tmp_path / 'share'}")
    assert transfer.publish_images(replace(place, artifact_store=None), [data / "a/x.png"]) is None
    sent = transfer.publish_images(place, [data / "b/x.png", data / "a/x.png"])
    there = replace(place, store=tmp_path / "two" / "store")
    images = ImageSet((data / "b/x.png", data / "a/x.png"), "digest", sent)
    found = transfer.local_images(there, images)
    assert [path.read_bytes() for path in found] == [(data / n).read_bytes() for n in ("b/x.png", "a/x.png")]
    assert found[1].with_name("x.mask.png").read_bytes() == (data / "a/x.mask.png").read_bytes()
    assert transfer.local_images(there, images.subset([1])) == [found[1]]
    assert json.loads((found[0].parents[1] / RECORD_FILE).read_text())["stage"] == "input_images"


@pytest.fixture
def failures():
    """A file system whose server refuses to answer as often as the list has entries."""
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    left = []

    class Sometimes(MemoryFileSystem):
        protocol = "sometimes"
        cachable = False

        def cat_file(self, *arguments, **options):
            if left:
                raise left.pop()
            return super().cat_file(*arguments, **options)

    fsspec.register_implementation("sometimes", Sometimes, clobber=True)
    transfer.remote_store.cache_clear()
    yield left
    MemoryFileSystem.store.clear()


def test_a_store_that_does_not_answer_for_a_while_is_retried(failures, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "lycoris")
    monkeypatch.setattr(retry, "RETRY_INTERVAL_S", 0.01)
    place = RunContext(tmp_path / "one", tmp_path / "shown", artifact_store="sometimes://lycoris/stages")
    one = made(place.store)
    failures += [ConnectionRefusedError("nobody there"), TimeoutError("nobody answers")]
    transfer.publish(place, one.folder)
    assert not failures
    assert transfer.try_fetch(replace(place, store=tmp_path / "two"), "images", KEY)
    gone, back = caplog.messages
    assert gone.startswith("the shared store sometimes://lycoris/stages does not answer; retrying")
    assert back.endswith("answers again")


def test_a_store_that_never_answers_or_refuses_is_an_error(failures, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(retry, "RETRY_INTERVAL_S", 0.01)
    monkeypatch.setattr(retry, "RETRY_TIMEOUT_S", 0.05)
    place = RunContext(tmp_path / "one", tmp_path / "shown", artifact_store="sometimes://lycoris/stages")
    failures += [ConnectionResetError("gone")] * 1000
    with pytest.raises(InputError, match=r"The shared store sometimes://.* does not answer.*saved"):
        transfer.try_fetch(place, "images", KEY)
    failures[:] = [PermissionError("not yours")]
    with pytest.raises(InputError, match=r"cannot be read: PermissionError: not yours"):
        transfer.try_fetch(place, "images", KEY)
    assert len(caplog.messages) == 1
