"""What the command line did not write itself is shown as text: it never controls the terminal."""

from __future__ import annotations

import ast
import io
import json
import logging
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from flows.cli.main import main
from flows.cli.output import print_lines, print_message
from flows.runtime.logging import ConsoleHandler
from lycoris.safety.file_names import is_printable
from tasks.runtime import progress

ROOT = Path(__file__).parents[3]
ESCAPES = "\x1b]0;owned\x07 \x1b[2J\x1b[1;31m \x9b31m \r \b \u202e \u2028 \x7f"
"""Sets the title, clears the screen, colors, the same as one character, overwrites, and exchanges left and right."""
ALLOWED = {
    "flows/cli/output.py": 3, "flows/cli/main.py": 3, "flows/cli/analyze.py": 1, "flows/studies/script.py": 3,
    "tasks/runtime/progress.py": 2,
}  # fmt: skip
"""Calls of `print`: of these functions, of errors and of JSON, which escapes all but ASCII."""


def check_harmless(text: str) -> None:
    """Only line breaks control the terminal."""
    assert text
    assert all(is_printable(line) for line in text.split("\n")), repr(text)


def test_nothing_else_prints() -> None:
    calls: dict[str, int] = {}
    for folder in ("flows", "tasks", "lycoris"):
        for file in (ROOT / folder).rglob("*.py"):
            name = file.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Call) and _called_name(node) == "print" and "/pocket/" not in name:
                    calls[name] = calls.get(name, 0) + 1
    assert calls == ALLOWED


def _called_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_lines_and_messages_stay_on_one_line(capsys) -> None:
    print_lines([f"tag {ESCAPES}\nlycoris: forged", Path(f"a{ESCAPES}")])
    print_message(f"note {ESCAPES}\nforged")
    shown = capsys.readouterr()
    for text, lines in ((shown.out, 2), (shown.err, 1)):
        check_harmless(text)
        assert len(text.splitlines()) == lines
    assert "\\x1b]0;owned\\x07 \\x1b[2J" in shown.out


def test_log_records_are_shown_as_text(capsys) -> None:
    ConsoleHandler().emit(logging.makeLogRecord({"name": "lycoris.data", "msg": "caption %s", "args": (ESCAPES,)}))
    check_harmless(capsys.readouterr().err)


def test_steps_are_shown_as_text_without_markup(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO, "lycoris.steps")
    out = io.StringIO()
    label = f"train [bold]{ESCAPES}[link=file:///etc]x[/link]"
    with progress.display(tmp_path / "progress", out) as shown:
        progress.step_finished(shown.folder, label, cached=False, seconds=1.0)
    check_harmless(out.getvalue())
    assert "[bold]" in out.getvalue()
    assert "[link=file:///etc]" in out.getvalue()


def test_bars_of_a_terminal_are_shown_as_text_without_markup(tmp_path: Path) -> None:
    from rich.console import Console
    from rich.progress import Progress

    (tmp_path / "1.bar").write_text(json.dumps({"label": f"[red]{ESCAPES}", "done": 1, "total": 2, "note": "[b]"}))
    console = Console(file=io.StringIO(), force_terminal=False, width=200)
    display = progress.Display(tmp_path, console)
    with Progress(*display.columns(), console=console, auto_refresh=False) as bars:
        display._show_bars(bars)
    check_harmless(console.file.getvalue())
    assert "[red]\\x1b]0;owned" in console.file.getvalue()
    assert "[b]" in console.file.getvalue()


@pytest.mark.parametrize("arguments", [["run", "--" + ESCAPES], [ESCAPES], ["run", ESCAPES], ["analyze", ESCAPES]])
def test_wrong_arguments_are_quoted_as_text(arguments: list[str], capsys) -> None:
    assert main(arguments) == 2
    check_harmless(capsys.readouterr().err)


def test_a_table_of_scores_is_shown_as_text(tmp_path: Path, capsys) -> None:
    escapes = ESCAPES.replace("\r", "")  # which would end a row
    rows = [
        {"concept": f"c{escapes}", "config": f"{name}{escapes}", "algorithm": f"{name}{escapes}", "captions": "all",
         "seed": seed, "learning_rate": 0.1, "name": "vendi/alter/clip", "value": value + seed / 100}
        for name, value in (("lora", 1), ("lokr", 2), ("loha", 3)) for seed in range(3)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
    main(["analyze", str(tmp_path / "scores.csv"), "--out", str(tmp_path / "out"), "--json"])
    shown = capsys.readouterr()
    check_harmless(shown.out + shown.err)
    assert "\\x1b" in shown.out + shown.err


def test_names_of_files_and_captions_are_shown_as_text(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "data" / "toys"
    folder.mkdir(parents=True)
    name = ESCAPES.replace("/", "")
    for number, content in enumerate((None, b"text", b"\x1b[31m")):
        file = folder / f"{number}{name}.png"
        Image.new("RGB", (16, 16)).save(file, "PNG") if content is None else file.write_bytes(content)
        file.with_suffix(".txt").write_text(f"red{ESCAPES}, " + "word " * 200)
    options = ["--set", f"output={tmp_path / 'runs'}", "--set", "captions=all", "--set", "tagger=sidecar"]
    assert main(["captions", str(tmp_path / "data"), *options, "--out", str(tmp_path / "page.html"), "--json"]) == 0
    shown = capsys.readouterr()
    check_harmless(shown.out + shown.err)
    assert "\\x1b" in shown.err


def test_tags_of_the_registry_are_shown_as_text(tmp_path: Path, capsys, monkeypatch) -> None:
    from tasks.tracking import promotion
    from tasks.tracking.client import connect, tracking_server
    from tests.tasks.tracking.test_registry import logged

    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(variable, raising=False)
    root = tmp_path / "runs"
    root.mkdir()
    run = logged(root, 1, concept="bear")
    server = tracking_server(root)
    promotion.promote_to_champion(server, "bear", run.version, f"reason{ESCAPES}\nforged")
    client = connect(server)
    (model,) = client.search_registered_models()
    for tag in client.get_model_version(model.name, run.version).tags:
        if tag not in ("adapter.sha256", "adapter.file", "adapter.key", "settings", "scores", "seed"):
            client.set_model_version_tag(model.name, run.version, tag, f"x{ESCAPES}\nlycoris: forged")
    for command in (["pull", "bear"], ["pull", "bear@nobody"], ["rollback", "bear"]):
        pulled = ["--out", str(tmp_path / "x.safetensors"), "--json"]
        main([*command, "--output", str(root), *(pulled if command[0] == "pull" else ["--reason", ESCAPES])])
        shown = capsys.readouterr()
        check_harmless(shown.out + shown.err)
        assert not any(line.startswith("lycoris: forged") for line in (shown.out + shown.err).splitlines())
