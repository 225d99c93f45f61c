"""The exported adapter file: its tensors, its lineage, and who may read it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tasks.export import export_adapter
from tests.tasks.tracking.small_study import SCORE


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_an_adapter_file_has_the_permissions_of_a_new_file(tmp_path: Path, umask: int, mode: int) -> None:
    save_file({"x": torch.ones(2, 3)}, tmp_path / "trained")
    before = os.umask(umask)
    try:
        out = export_adapter(tmp_path / "trained", tmp_path / "out" / "x.safetensors", scores=[SCORE], lineage={})
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == mode
    assert os.listdir(out.parent) == [out.name]


def test_scores_and_lineage_are_in_the_header(tmp_path: Path) -> None:
    save_file({"x": torch.ones(2, 3)}, tmp_path / "trained", metadata={"concept": "bear"})
    out = export_adapter(tmp_path / "trained", tmp_path / "x.safetensors", scores=[SCORE], lineage={"commit": "c0ffee"})
    with safe_open(out, framework="pt") as stream:
        header = stream.metadata()
        assert torch.equal(stream.get_tensor("x"), torch.ones(2, 3))
    assert (header["concept"], header["commit"]) == ("bear", "c0ffee")
    assert json.loads(header["scores"])[SCORE.name]["value"] == SCORE.value
