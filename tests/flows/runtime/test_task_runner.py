"""The process pool: waiting steps do not block free processes, and no process outlives the command."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from flows.runtime.task_runner import assign_gpu
from tests.e2e.tiny import ENVIRONMENT, ROOT


@pytest.mark.parametrize(
    ("visible", "gpus", "seen"),
    [
        (None, 0, [None, None]),
        (None, 1, [None, None]),
        (None, 2, ["0", "1", "0"]),
        ("3,5", 8, ["3", "5", "3"]),
        ("7", 8, ["7", "7"]),
        ("", 2, ["", ""]),
    ],
)
def test_processes_of_a_pool_have_a_gpu_each(visible, gpus, seen):
    for worker, expected in enumerate(seen):
        environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        assign_gpu(environment, worker, gpus)
        assert environment.get("CUDA_VISIBLE_DEVICES") == expected


SCRIPT = """
import os, sys, time
from pathlib import Path
from flows.runtime.client_environment import configure_environment
from flows.runtime.prefect_server import prefect_server

configure_environment()

if __name__ == "__main__":
    with prefect_server(Path(sys.argv[1])):
        from prefect import flow, task
        from flows.runtime.task_runner import ProcessPoolRunner

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

        @flow(task_runner=ProcessPoolRunner(max_workers=2))
        def work():
            first = slow.submit()
            waiting = [after.submit(first) for _ in range(3)]
            free = ready.submit()
            in_time = free.result() < first.result() <= min(one.result() for one in waiting)
            servers = os.popen("ps -o args --ppid %d" % os.getpid()).read().count("uvicorn")
            return in_time, servers

        print(work())
"""


def test_waiting_steps_do_not_block_steps_that_are_ready(tmp_path):
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


ALONE = """
import os, sys, time
from pathlib import Path
from flows.runtime.client_environment import configure_environment
from flows.runtime.prefect_server import prefect_server

configure_environment()

if __name__ == "__main__":
    with prefect_server(Path(sys.argv[1])):
        from prefect import flow, task
        from flows.runtime.task_runner import ProcessPoolRunner

        @task
        def who():
            print(os.getpid(), flush=True)
            time.sleep(600)

        @flow(task_runner=ProcessPoolRunner(max_workers=1))
        def work():
            who.submit().result()

        work()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux, to see a process that is nobody's child")
def test_worker_processes_exit_when_the_command_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(ALONE))
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "home")],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
    ) as command:  # fmt: skip
        worker = int(command.stdout.readline())
        os.kill(command.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
