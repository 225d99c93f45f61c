"""`lycoris doctor` names what would make a run fail, and what to do about it."""

from __future__ import annotations

import http.server
import json
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from flows.cli.main import main
from flows.runtime.health import checks, machine, packages, services
from flows.runtime.health.finding import Finding


@pytest.fixture
def only_packages(monkeypatch):
    """No check but that of the required packages, which needs neither torch nor a network."""
    monkeypatch.setattr(checks, "CHECKS", (packages.check_requirements,))


def problems(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.state == "problem"]


def test_every_problem_and_note_says_what_to_do_on_this_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    main(["doctor", "--output", str(tmp_path / "runs"), "--json"])
    shown = capsys.readouterr()
    result = json.loads(shown.out.splitlines()[-1])
    topics = {each["topic"] for each in result["findings"]}
    assert {"lycoris", "python", "torch", "device", "memory", "disk", "packages", "versions", "extras", "hub"} <= topics
    assert {"prefect", "mlflow", "locks"} <= topics
    assert all(each["remedy"] for each in result["findings"] if each["state"] != "ok")
    assert not (tmp_path / "runs").exists()


def test_the_status_is_1_if_a_package_is_missing(only_packages, monkeypatch, capsys):
    assert main(["doctor"]) == 0
    known = packages.installed_version
    monkeypatch.setattr(packages, "installed_version", lambda name: None if name == "scipy" else known(name))
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "scipy is missing" in shown
    assert "pip install 'scipy<2,>=1.14'" in shown


def test_versions_that_the_tests_did_not_run_with_are_named(monkeypatch, tmp_path):
    known = packages.installed_version
    monkeypatch.setattr(packages, "installed_version", lambda name: "0.1" if name == "pillow" else known(name))
    (finding,) = packages.check_versions(tmp_path)
    assert finding.state == "note"
    assert "pillow 0.1 (" in finding.text
    assert "constraints.txt" in finding.remedy


def test_a_check_that_fails_is_a_problem(monkeypatch, tmp_path):
    def check_torch(_):
        raise OSError("no such library https://ann:hunter22@host/")

    monkeypatch.setattr(checks, "CHECKS", (check_torch,))
    (finding,) = checks.run_checks(tmp_path)
    assert (finding.topic, finding.state) == ("torch", "problem")
    assert "hunter22" not in finding.text


def test_an_unsupported_python_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "SUPPORTED_PYTHON", ((3, 5), (3, 6)))
    (problem,) = problems(machine.check_python(tmp_path))
    assert "3.5 to 3.6" in problem.remedy


def test_a_full_disk_and_little_memory_are_problems(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "MIN_DISK", 2**80)
    monkeypatch.setattr(machine, "MIN_MEMORY", 2**80)
    assert [each.topic for each in problems(machine.check_disks(tmp_path / "a" / "b"))] == ["disk", "temporary"]
    assert "workers=1" in machine.check_memory(tmp_path)[0].remedy


def test_a_server_that_does_not_answer_is_a_problem(monkeypatch, tmp_path):
    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:hunter22@127.0.0.1:1")
    try:
        states = {each.topic: each for each in services.check_servers(tmp_path)}
    finally:
        server.shutdown()
        server.server_close()
    assert states["prefect"].state == "ok"
    assert states["mlflow"].state == "problem"
    assert "hunter22" not in states["mlflow"].text
    assert "unset MLFLOW_TRACKING_URI" in states["mlflow"].remedy


def test_locks_that_are_left_over_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(services, "project_root", lambda: tmp_path)
    assert [each.text for each in services.check_locks(tmp_path / "runs")] == ["none is left over"]
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    entry = {"/data": {"write": {"pid": 2**22 + 1, "cmd": "dvc add"}, "read": []}}
    (tmp_path / ".dvc" / "tmp" / "rwlock").write_text(json.dumps(entry))
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index.lock").touch()
    assert len(problems(services.check_locks(tmp_path / "runs"))) == 1, "a git command may be running"
    monkeypatch.setattr(services.time, "time", lambda now=time.time: now() + 120)
    remedies = [each.remedy for each in problems(services.check_locks(tmp_path / "runs"))]
    assert any("index.lock" in each for each in remedies)
    assert any("rwlock" in each for each in remedies)


def test_a_stage_that_another_run_computes_is_named(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(services, "project_root", lambda: tmp_path)
    folder = tmp_path / "runs" / "store" / services.LOCKS_DIR
    folder.mkdir(parents=True)
    with FileLock(folder / "key.lock"):
        (held,) = services.check_locks(tmp_path / "runs")
    (free,) = services.check_locks(tmp_path / "runs")
    assert (held.state, free.state) == ("note", "ok")
