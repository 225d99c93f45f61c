"""The help of the command: every command has it, it lists values, and printing the overview imports no command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lycoris
from flows.cli import listing
from flows.cli.command_line import commands_of
from flows.cli.main import COMMANDS, COMPLETION_VARIABLE, build_parser, main

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_module_and_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (ROOT / "flows" / "cli" / f"{command}.py").is_file()
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: lycoris {command}")
    assert not re.search(r"\blycoris\.(?!fish\b)[A-Za-z]", text), (
        "help must list values instead of naming a Python attribute"
    )


def test_every_module_of_a_command_is_in_the_table() -> None:
    modules = {file.stem for file in (ROOT / "flows" / "cli").glob("*.py") if "\nPARAMETERS = " in file.read_text()}
    assert modules | {"data"} == set(COMMANDS)


def test_every_parameter_has_a_help_text() -> None:
    for name, command in commands_of(build_parser()):
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{parameter.name} of `lycoris {name}`"


def test_help_of_run_lists_every_option_and_the_names_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    from flows.config.experiment import Experiment
    from lycoris.adapters import ALGORITHMS

    assert main(["run", "-h"]) == 0
    text = capsys.readouterr().out
    for name in Experiment.model_fields:
        assert re.search(rf"^  {name}[ .]", text, re.MULTILINE), name
    assert ", ".join(ALGORITHMS) in text


def test_help_of_run_lists_options_of_an_adapter_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    adapter = capsys.readouterr().out.rpartition("options of an adapter")[2]
    assert re.search(r"^  rank .*such as 4, 8 or 32", adapter, re.MULTILINE)
    assert re.search(r"^  images .*number of images of a concept to train on", adapter, re.MULTILINE)
    assert "images.train" not in adapter


def test_the_version_is_that_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lycoris {lycoris.__version__}\n"


def test_help_imports_nothing_heavy_and_the_overview_no_command() -> None:
    script = (
        "import sys\n"
        "from flows.cli.main import COMMANDS, main\n"
        "main(['--help'])\n"
        "print(sorted({f'flows.cli.{name}' for name in COMMANDS} & set(sys.modules)), file=sys.stderr)\n"
        "for name in COMMANDS: main([name, '--help'])\n"
        "unneeded = {'torch', 'prefect', 'pydantic', 'pandas', 'mlflow', 'rich', 'urllib.request'}\n"
        "print(sorted(unneeded & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True, text=True)
    assert ended.stderr == "[]\n[]\n"
    assert all(f"  {name} " in ended.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", listing.COMMANDS)
def test_the_kept_list_of_a_command_is_that_of_its_tables(command: str) -> None:
    kept, built = listing.read_listing(command), listing.build_listing(command)
    assert kept == built, "run `python -m flows.cli.listing`"


def test_a_default_is_named_where_help_has_none_in_its_column() -> None:
    for line in listing.read_listing("run").splitlines():
        assert "depends on" not in line, "a reader cannot look that up"
        assert "(see meaning)" not in line or "default: " in line


def test_the_lengths_and_batches_that_help_names_are_the_defaults() -> None:
    from flows.config.defaults import default_settings
    from flows.config.experiment import Experiment

    pocket, other = (default_settings(base, "lora").training for base in ("pocket", "real"))
    about = {name: Experiment.model_fields[name].description or "" for name in ("steps", "batch_size")}
    assert f"{other['epochs']} epochs have, on the pocket {pocket['steps']} " in about["steps"]
    assert about["batch_size"].endswith(f"default: {other['batch_size']}, on the pocket {pocket['batch_size']}")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("lycoris st", ["study"]),
        ("lycoris score --quality", ["--quality-predictors"]),
        ("lycoris score --resize-mode c", ["crop"]),
        ("lycoris study cap", ["capacity", "captions"]),
        ("lycoris data pu", ["pull", "push"]),
    ],
)
def test_a_shell_completes_commands_options_and_names(words, completed, monkeypatch, capsys) -> None:
    monkeypatch.setitem(os.environ, COMPLETION_VARIABLE, "bash_complete")
    monkeypatch.setitem(os.environ, "COMP_WORDS", words)
    monkeypatch.setitem(os.environ, "COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.split() == [f"plain,{word}" for word in completed]


def test_the_completion_script_calls_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert f"{COMPLETION_VARIABLE}=bash_complete" in script
    assert subprocess.run(["bash", "-n"], input=script, check=False, text=True).returncode == 0


def test_reading_an_experiment_imports_neither_torch_nor_pandas() -> None:
    script = (
        "import sys, flows.config.experiment; print(sorted({'torch', 'pandas', 'scipy', 'mlflow'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout == "[]\n"
