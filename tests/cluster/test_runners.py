"""Task runners: which names are accepted, how others are rejected, and one computation at a time per process."""

import subprocess
import sys
import textwrap
import threading

import pytest
from prefect.task_runners import ThreadPoolTaskRunner

from flows.config.defaults import EXECUTION_FIELDS
from flows.config.experiment import Experiment
from flows.config.loading import parse_experiment
from flows.runtime.task_runner import ProcessPoolRunner, create_task_runner, has_requested_task_runner, worker_count
from lycoris.errors import InputError
from tasks.artifacts import RunContext
from tasks.runtime import resources
from tests.e2e.tiny import ENVIRONMENT, ROOT


@pytest.mark.parametrize("name", ["processes", "threads", "tcp://10.0.0.1:8786", "tls://scheduler.example:8786"])
def test_these_runners_are_accepted(name):
    assert parse_experiment({"runner": name}).runner == name


def test_a_runner_with_a_password_is_an_error():
    with pytest.raises(InputError, match="`runner`: must not contain a user name, password or token"):
        parse_experiment({"runner": "tcp://me:secret@host:8786"})


@pytest.mark.parametrize("name", ["dask", "tcp://host", "http://host:8786", ""])
def test_other_runners_are_errors(name):
    with pytest.raises(InputError, match="processes, threads or the address of a Dask scheduler"):
        parse_experiment({"runner": name})


def test_an_artifact_store_is_a_url_and_excludes_co_training():
    with pytest.raises(InputError, match="must be a URL"):
        parse_experiment({"artifact_store": "bucket/prefix"})
    with pytest.raises(InputError, match="`co_train` must be 1"):
        parse_experiment({"artifact_store": "s3://bucket/prefix", "co_train": 2})


def test_where_a_run_is_executed_does_not_change_its_key():
    assert set(Experiment.model_fields) > EXECUTION_FIELDS
    assert {"runner", "artifact_store", "gpu_limit", "workers", "output"} <= EXECUTION_FIELDS


def test_each_name_gives_its_runner(tmp_path):
    assert isinstance(create_task_runner(parse_experiment({"workers": 3}), tmp_path), ProcessPoolRunner)
    threads = parse_experiment({"runner": "threads", "workers": 3})
    assert isinstance(create_task_runner(threads, tmp_path), ThreadPoolTaskRunner)
    assert worker_count(threads) == 1
    assert has_requested_task_runner(threads)  # outside a flow run there is none to differ


def test_a_missing_extra_is_named_with_its_install_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    monkeypatch.delitem(sys.modules, "flows.runtime.dask_runner", raising=False)
    with pytest.raises(InputError, match=r"pip install 'lycoris-pipeline\[dask\]'"):
        create_task_runner(parse_experiment({"runner": "tcp://127.0.0.1:1"}), tmp_path)


def test_an_unreachable_scheduler_is_named(tmp_path, monkeypatch):
    pytest.importorskip("prefect_dask", reason="needs `dask`")
    from flows.runtime import dask_runner

    monkeypatch.setattr(dask_runner, "CONNECT_TIMEOUT_S", 1.0)
    with pytest.raises(InputError, match=r"No Dask scheduler answers at `tcp://127\.0\.0\.1:1`"):
        create_task_runner(parse_experiment({"runner": "tcp://127.0.0.1:1", "output": str(tmp_path)}), tmp_path)


def test_without_a_cluster_dask_is_not_imported():
    script = "import flows.customize, sys; print(sorted({'dask', 'distributed', 's3fs'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_threads_of_a_process_compute_one_at_a_time(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(50):
            with resources.exclusive_compute(RunContext(tmp_path), gpu=False):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


LIMITED = """
import os, subprocess, sys, time
from pathlib import Path
from flows.runtime.client_environment import configure_environment
from flows.runtime.prefect_server import prefect_server

configure_environment()
folder = Path(sys.argv[1])
if len(sys.argv) > 2:
    from tasks.artifacts import RunContext
    from tasks.runtime.resources import exclusive_compute
    with exclusive_compute(RunContext(folder, device="cuda", gpu_limit=sys.argv[2]), gpu=True):
        started = time.time()
        time.sleep(4)
        print(started, time.time())
    sys.exit()
with prefect_server(folder / "prefect"):
    from prefect.client.orchestration import get_client
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name("one", 1)
    for name in ("one", "unknown"):
        running = [subprocess.Popen([sys.executable, __file__, sys.argv[1], name], stdout=-1, text=True) for _ in "ab"]
        spans = sorted(tuple(map(float, each.communicate()[0].split())) for each in running)
        print(name, len(spans[0]) + len(spans[1]), spans[0][1] <= spans[1][0])
"""


@pytest.mark.slow
def test_gpu_steps_wait_for_a_slot_of_the_limit_and_need_none_without_a_limit(tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(LIMITED))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one, unknown = done.stdout.splitlines()
    assert one == "one 4 True"
    assert unknown.startswith("unknown 4 ")
