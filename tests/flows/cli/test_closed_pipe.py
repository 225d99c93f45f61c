"""A reader that has enough, such as `head`, ends a command quietly."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("arguments", "status"), [(["completion", "bash"], 141), (["run", "--help"], 1)])
def test_a_closed_pipe_prints_no_traceback(arguments: list[str], status: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (status, "")
