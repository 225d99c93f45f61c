"""Any input that is invalid gives a clear error: no crash, no write elsewhere, no unbounded memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lycoris.errors import InputError
from lycoris.safety.file_names import check_folder_name
from lycoris.safety.redaction import printable, redact
from lycoris.safety.yaml_loading import read_yaml
from tests.faults.hostile import FAMILIES, NAMES, TOTAL

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The result of reading two thousand inputs, in a process with its own working folder."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "here").mkdir()
    (folder / "canary").write_text("untouched")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.faults.hostile import main; "
         "import json, pathlib; print(json.dumps(main(pathlib.Path(sys.argv[1]))))", str(folder)],
        cwd=folder / "here", capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_two_thousand_hostile_inputs_are_rejected_clearly_or_harmless(report):
    _, counts = report
    assert counts["tried"] == TOTAL == 2000
    assert counts["wrong"] == []
    assert counts["unclear"] == []
    assert counts["rejected"] > 1200
    assert all(counts["accepted"][family] > 0 for family in FAMILIES), counts["accepted"]


@pytest.mark.slow
def test_nothing_is_written_outside_of_the_run_folder(report):
    folder, _ = report
    assert sorted(path.name for path in folder.iterdir()) == ["canary", "here", "run"]
    assert list((folder / "here").iterdir()) == []
    assert (folder / "canary").read_text() == "untouched"
    assert not list(folder.rglob("*escaped*"))


@pytest.mark.slow
def test_memory_stays_below_a_gigabyte(report):
    assert report[1]["megabytes"] < 1024


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("$", "`", "%", "'", "-", "\u202e"))])
def test_a_name_that_is_a_path_is_rejected(name):
    with pytest.raises(InputError, match="cannot be the name of a folder"):
        check_folder_name("Concept", name)


@pytest.mark.parametrize("name", ["grumble", "bär", "雪だるま", "my toy (2)", "a.b", "o'bear", "x-1_2"])
def test_ordinary_names_are_accepted(name):
    check_folder_name("Concept", name)


def test_only_plain_yaml_is_loaded():
    assert read_yaml("a: {b: [1, 2.5, x, null]}", "It") == {"a": {"b": [1, 2.5, "x", None]}}
    for text in (
        "!!python/object/apply:os.getcwd []",
        "a: &x 1\nb: *x",
        "a: 1\na: 2",
        "[" * 9999,
        "9" * 101,
        "\0",
        "2001-99-99",
    ):
        with pytest.raises(InputError, match="It is not readable YAML"):
            read_yaml(text, "It")


def test_secrets_are_redacted(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc/def+ghi")
    shown = redact("https://ann:pass@host/x?y=abc/def+ghi token hf_0123456789 s3://bucket/key http://127.0.0.1:80/a@b")
    assert shown == "https://***@host/x?y=*** token *** s3://bucket/key http://127.0.0.1:80/a@b"


def test_control_characters_are_escaped():
    assert printable("a\x1b[31mb\r\nc\ud800") == "a\\x1b[31mb\\x0d\nc\\ud800"


def test_the_command_line_redacts_passwords_in_errors(tmp_path, capsys, monkeypatch):
    from flows.cli.main import main

    assert main(["run", "--set", f"data={tmp_path}/nowhere://ann:hunter22@host/"]) == 2
    error = capsys.readouterr().err
    assert "hunter22" not in error
    assert "nowhere" in error


def test_a_crash_shows_no_secrets_and_ends_with_status_1(monkeypatch, capsys):
    from flows.cli import main

    def crash(arguments):
        raise RuntimeError("no answer from https://ann:hunter22@host/ \x1b[31m")

    monkeypatch.setattr("flows.cli.pull.run", crash)
    assert main.main(["pull", "x"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback")
    assert "RuntimeError: no answer from https://***@host/ \\x1b[31m" in error
    assert "hunter22" not in error
