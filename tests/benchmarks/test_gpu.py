"""The script that measures a GPU: its sections fail alone, and it runs without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import MODELS, OTHERS, commands, format_table, run_section

ROOT = Path(__file__).resolve().parents[2]
PRINT = "import json; print(json.dumps({'step_ms': 2.5}), flush=True)"


def python(code):
    return [sys.executable, "-c", code]


def test_what_a_section_measured_before_it_failed_is_kept():
    code = f"{PRINT}; print('noise'); raise ValueError('no card')"
    rows = list(run_section(python(code), {}, 60))
    assert rows == [{"step_ms": 2.5}, {"error": "ValueError: no card"}]


def test_a_section_that_takes_too_long_is_ended():
    code = f"import time; {PRINT}; time.sleep(60)"
    assert list(run_section(python(code), {}, 1.5)) == [{"step_ms": 2.5}, {"error": "ended after 2 s"}]


def test_rows_of_other_columns_start_another_table():
    table = format_table([{"a": 1, "b": 0.12345}, {"a": 2, "b": 1e-9}, {"error": "no"}])
    assert table.splitlines() == [
        "", "| a | b |", "|---|---|", "| 1 | 0.1235 |", "| 2 | 1e-09 |", "", "| error |", "|---|", "| no |",
    ]  # fmt: skip


def test_a_peer_is_measured_only_where_its_wheel_is():
    with_peer = commands(Path("/site"), small=False)
    assert with_peer["sdxl lycoris-lora"][1] == {"PYTHONPATH": "/site"}
    without = commands(None, small=False)
    assert not [name for name in without if "lycoris-lora" in name]
    assert {*OTHERS, "pipeline", *(f"{model} ours" for model in MODELS)} <= set(without)


@pytest.mark.slow
def test_every_section_runs_small_on_a_cpu(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--smoke", "--seconds", "900", "--out", str(tmp_path / "gpu"),
         "--sections", "packages,sd15 ours,sdxl peft,flux-blocks ours,gen,half,optim,resume"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    table = (tmp_path / "gpu.md").read_text()
    assert "| stopped at half and resumed | 0 |" in table, done.stderr
    for model, library in (("sd15", "ours"), ("sdxl", "peft"), ("flux-blocks", "ours")):
        assert f"| {model} | lokr | {library} | eager |" in table
    assert "adamw-8bit" in table
