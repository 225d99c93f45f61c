"""`make audit` fails where nothing was checked, and the page of licences lists what is required."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

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


def test_the_page_of_licences_lists_every_required_package() -> None:
    import tomllib

    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8").lower().replace("_", "-")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [name.split(">")[0].split("=")[0].split("<")[0].strip() for name in project["dependencies"]]
    assert [name for name in names if f"| {name.lower()} | " not in page] == []
    assert script("licences").licence("pillow")[1] == "MIT-CMU"
