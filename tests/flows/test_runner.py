"""The claim that steps which wait for another's result keep no process from work that is ready, nor start a server."""

import subprocess
import sys
import textwrap

from tests.flows.tiny import ENVIRONMENT, ROOT

SCRIPT = """
import os, sys, time
from pathlib import Path
from flows.server import prefect_server, quieten

quieten()

if __name__ == "__main__":
    with prefect_server(Path(sys.argv[1])):
        from prefect import flow, task
        from flows.runner import Workers

        @task
        def slow():
            time.sleep(6)
            return time.time()

        @task
        def after(earlier):
            return time.time()

        @task
        def ready():
            return time.time()

        @flow(task_runner=Workers(max_workers=2))
        def work():
            first = slow.submit()
            waiting = [after.submit(first) for _ in range(3)]
            free = ready.submit()
            in_time = free.result() < first.result() <= min(one.result() for one in waiting)
            servers = os.popen("ps -o args --ppid %d" % os.getpid()).read().count("uvicorn")
            return in_time, servers

        print(work())
"""


def test_waiting_steps_leave_the_processes_to_those_that_are_ready(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "home")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "(True, 0)"
