"""The help of the command: every command has it, it lists values, and printing the overview imports nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_module_and_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (ROOT / "flows" / "cli" / f"{command}.py").is_file()
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: lycoris {command}")
    assert not re.search(r"\blycoris\.[A-Za-z]", text), "help must list values instead of naming a Python attribute"


def test_help_of_run_lists_every_option_and_the_names_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    from flows.config.experiment import Experiment
    from lycoris.adapters import ALGORITHMS

    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    for name in Experiment.model_fields:
        assert re.search(rf"^  {name}[ .]", text, re.MULTILINE), name
    assert ", ".join(ALGORITHMS) in text


def test_help_of_run_lists_options_of_an_adapter_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    adapter = capsys.readouterr().out.rpartition("options of an adapter")[2]
    assert re.search(r"^  rank .*such as 4, 8 or 32", adapter, re.MULTILINE)
    assert re.search(r"^  images .*number of images of a concept to train on", adapter, re.MULTILINE)
    assert "images.train" not in adapter


def test_the_overview_imports_no_heavy_library() -> None:
    script = (
        "import sys\n"
        "from flows.cli.main import build_parser\n"
        "build_parser().format_help()\n"
        "sys.exit(bool({'torch', 'prefect', 'pydantic', 'pandas', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT).returncode == 0
