"""`make audit` fails where nothing was checked, and the page of licences lists what is required."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def script(name: str) -> ModuleType:
    """A script of ``.ci`` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_exit_code_tells_advisories_from_what_was_not_checked() -> None:
    summarize = script("advisories").summarize
    fine = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
    skipped = {"name": "c", "skip_reason": "not found"}
    assert summarize({"dependencies": [fine]})[0] == 0
    code, text = summarize({"dependencies": [fine, bad, skipped]})
    assert code == 1
    assert "b 2: CVE-1, repaired in 3" in text
    assert "2 of 3 versions were checked; 1 advisories." in text
    assert "NOT CHECKED: 1 versions, such as c." in text
    assert summarize({"dependencies": [fine, skipped]})[0] == 2
    assert summarize({"dependencies": []})[0] == 2


def test_an_advisory_service_that_does_not_answer_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("a==1\n")
    command = [sys.executable, str(ROOT / ".ci" / "advisories.py"), "--osv-url", "http://127.0.0.1:9/v1/query"]
    done = subprocess.run(
        [*command, "--constraints", str(tmp_path / "constraints.txt")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout.startswith("NOTHING WAS CHECKED")


RANGE = {
    "type": "ECOSYSTEM",
    "events": [{"introduced": "1.0"}, {"fixed": "1.4"}, {"introduced": "2.0"}, {"fixed": "2.2"}],
}
ADVISORIES = [
    {"id": "PYSEC-1", "affected": [{"package": {"name": "My.Pkg", "ecosystem": "PyPI"}, "ranges": [RANGE]}]},
    {"id": "PYSEC-2", "affected": [{"package": {"name": "my-pkg", "ecosystem": "PyPI"}, "versions": ["1.4", "old"]}]},
    {
        "id": "GONE",
        "withdrawn": "2024",
        "affected": [{"package": {"name": "my-pkg", "ecosystem": "PyPI"}, "versions": ["1.4"]}],
    },
    {"id": "GO-1", "affected": [{"package": {"name": "my-pkg", "ecosystem": "Go"}, "versions": ["1.4"]}]},
    {
        "id": "PYSEC-3",
        "affected": [
            {
                "package": {"name": "other", "ecosystem": "PyPI"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"last_affected": "3"}]}],
            }
        ],
    },
]


@pytest.fixture(params=["archive", "folder", "list"])
def database_file(request, tmp_path: Path) -> Path:
    """A small OSV database in each form that is read."""
    path = tmp_path / f"database-{request.param}"
    if request.param == "archive":
        with zipfile.ZipFile(path, "w") as archive:
            for one in ADVISORIES:
                archive.writestr(f"{one['id']}.json", json.dumps(one))
    elif request.param == "folder":
        path.mkdir()
        for one in ADVISORIES:
            (path / f"{one['id']}.json").write_text(json.dumps(one))
    else:
        path.write_text(json.dumps(ADVISORIES))
    return path


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [
        ("my-pkg", "0.9", []),
        ("My_Pkg", "1.0", ["PYSEC-1"]),
        ("my-pkg", "1.3.9", ["PYSEC-1"]),
        ("my-pkg", "1.4", ["PYSEC-2"]),
        ("my-pkg", "2.1", ["PYSEC-1"]),
        ("my-pkg", "2.2", []),
        ("other", "3", ["PYSEC-3"]),
        ("other", "3.0.1", []),
        ("third", "1", []),
    ],
)
def test_a_database_knows_the_advisories_of_a_version(name: str, version: str, found: list[str]) -> None:
    module = script("osv_database")
    database: dict[str, list[dict[str, object]]] = {"my-pkg": ADVISORIES[:4], "other": ADVISORIES[4:]}
    assert [one["id"] for one in module.find_advisories(database, name, version)] == found


def test_a_downloaded_database_answers_in_place_of_the_service(database_file: Path) -> None:
    module = script("osv_database")
    with module.serve(module.read_database(database_file)) as url:
        for version, expected in (("1.4", ["PYSEC-2"]), ("2.2", None)):
            query = json.dumps({"package": {"name": "my-pkg", "ecosystem": "PyPI"}, "version": version}).encode()
            with urllib.request.urlopen(urllib.request.Request(url, query), timeout=30) as answer:
                vulns = json.load(answer).get("vulns")
            assert (vulns and [one["id"] for one in vulns]) == expected


def test_an_audit_with_a_database_finds_what_is_in_it(tmp_path: Path, capsys) -> None:
    pytest.importorskip("pip_audit", reason="installed by `make audit`")
    (tmp_path / "database.json").write_text(json.dumps(ADVISORIES))
    (tmp_path / "constraints.txt").write_text("my-pkg==1.3\nother==4\n")
    options = ["--database", str(tmp_path / "database.json"), "--constraints", str(tmp_path / "constraints.txt")]
    assert script("advisories").main(options) == 1
    assert "my-pkg 1.3: PYSEC-1, repaired in 1.4" in capsys.readouterr().out


def test_a_database_that_holds_nothing_is_an_error_that_says_so(tmp_path: Path, capsys) -> None:
    for text in ("[]", "{", '[{"id": "x"}]', "[1]"):
        (tmp_path / "database.json").write_text(text)
        assert script("advisories").main(["--database", str(tmp_path / "database.json")]) == 2
        assert capsys.readouterr().out.startswith("NOTHING WAS CHECKED: the database")


def test_the_page_of_licences_lists_every_required_package() -> None:
    import tomllib

    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8").lower().replace("_", "-")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [name.split(">")[0].split("=")[0].split("<")[0].strip() for name in project["dependencies"]]
    assert [name for name in names if f"| {name.lower()} | " not in page] == []
    assert script("licences").licence("pillow")[1] == "MIT-CMU"
