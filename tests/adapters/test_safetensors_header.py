"""Files with equal content are equal bytes, regardless of what their headers contain."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lycoris.adapters.files.safetensors_header import sort_metadata

METADATA = {
    f"name {number}": text for number, text in enumerate(["猫", 'a"b\\c', "\x01\x1f\x7f\n\t\b\f\r", "", "/é\u2028"])
}


def test_equal_content_gives_equal_bytes_and_nothing_else_changes(tmp_path):
    tensors = {"b": torch.randn(3, 5), "a": torch.ones(2, dtype=torch.bfloat16)}
    files = [tmp_path / f"{number}.safetensors" for number in range(8)]
    for file in files:
        save_file(tensors, file, metadata=METADATA)
    before = {file.read_bytes() for file in files}
    for file in files:
        sort_metadata(file)
    assert len({file.read_bytes() for file in files}) == 1 < len(before)
    assert all(torch.equal(value, tensors[name]) for name, value in load_file(files[0]).items())
    with safe_open(files[0], framework="pt") as opened:
        assert opened.metadata() == METADATA


@pytest.mark.parametrize("metadata", [None, {}, {"one": "x"}])
def test_a_header_without_metadata_to_sort_is_unchanged(tmp_path, metadata):
    file = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(2)}, file, metadata=metadata)
    before = file.read_bytes()
    sort_metadata(file)
    assert file.read_bytes() == before
