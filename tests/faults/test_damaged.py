"""Finished work whose bytes have changed on the disk is noticed, logged, and computed again as it was."""

import os

import pytest

from lycoris.cache.integrity import file_digest
from tests.faults.claims import check
from tests.faults.killing import finish, finished

STORED = {
    "adapter": "adapter/*/adapter.safetensors",
    "images": "images/*/alter/000.png",
    "features": "features/*/features.safetensors",
    "scores": "scores/*/scores.json",
    "captions": "tags/*/*.json",
}


def flip(file):
    """Change one bit in the middle, and no time: as a failing disk does."""
    content, before = bytearray(file.read_bytes()), file.stat()
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.slow
def test_a_flipped_bit_in_each_kind_of_stored_file_is_logged_and_fixed(undisturbed):
    folder, expected = undisturbed
    store = folder / "runs" / "store"
    files = {kind: sorted(store.glob(pattern))[0] for kind, pattern in STORED.items()}
    digests = {kind: file_digest(file) for kind, file in files.items()}
    before = finished(folder)
    for file in files.values():
        flip(file)
    result, lines = finish(folder)
    for kind, file in files.items():
        name = file.name if kind == "captions" else file.parent.name if file.parent.parent.name == kind else "alter"
        assert any("damaged" in line for line in lines)
        assert name in "".join(lines), kind
        assert file_digest(file) == digests[kind], kind
    damaged = {name for kind, file in files.items() for name in before if name in str(file)}
    again = {name for name, entry in finished(folder).items() if entry != before[name]}
    assert again == damaged
    assert len(damaged) == 4
    check(folder, result, expected)
