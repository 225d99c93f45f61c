"""A reader that has enough, such as `head`, ends a command quietly."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flows.cli import main as command


@pytest.mark.parametrize("arguments", [["completion", "bash"], ["run", "--help"]])
def test_a_closed_pipe_prints_no_traceback(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert "Traceback" not in ended.stderr
    assert "Broken" not in ended.stderr


def test_a_closed_pipe_ends_with_the_status_of_sigpipe(monkeypatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert command.main(["import", "--help"]) in (0, 1)
        closed.write("more than nothing")
        assert command.discard_closed_output()
        assert not command.discard_closed_output()
