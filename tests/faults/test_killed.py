"""`kill -9` of a run, at any time, loses unfinished work and nothing else.

The command is killed with all its processes: at twenty random times, one in each twentieth of the processor time of an
undisturbed run, each in its own folder; at each boundary of a stage, as it appears in the folder and in the tracking
database, one after another in one folder; and while databases and the data version are created.
"""

import itertools
import os
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.claims import STAGES, check, check_nothing_twice, writers
from tests.faults.killing import MAX_CONCURRENT, copy, finish, finished, kill, moments, new_moment, spent, start

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux, to measure processor time")
MOMENTS = 20
CHANCE = random.Random(20)
SHARES = [(number + CHANCE.random()) / MOMENTS for number in range(MOMENTS)]
"""One time in each twentieth of a run, as a fraction of its length."""

BOUNDARIES = {"captions", "run", "finished", "model", "version", "alias", "outputs"} | {
    *(f"stored {stage}" for stage in STAGES),
    *("begun adapter", "begun images", "begun features"),
}
"""Boundaries that must have been covered."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(furnished):
    """The environment of runs that share a Prefect server, to save its start."""
    from flows.runtime.prefect_server import prefect_server

    home = shutil.copytree(furnished / "runs" / "prefect", furnished.with_name("server"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        patch.delenv("PREFECT_API_URL", raising=False)
        with prefect_server(home) as url:
            password = os.environ["PREFECT_API_AUTH_STRING"]
            yield {"PREFECT_HOME": str(home), "PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": password}


@pytest.fixture(scope="module")
def length(furnished, server):
    """Seconds of processor time that an undisturbed run takes."""
    folder = copy(furnished, furnished.with_name("timed"))
    process, seconds = start(folder, **server), 0.0
    while process.poll() is None:
        seconds = max(seconds, spent(process))
        time.sleep(0.05)
    assert process.returncode == 0, (folder / "err").read_text()[-3000:]
    shutil.rmtree(folder)
    return seconds


@pytest.fixture(scope="module")
def killed(furnished, server, length, undisturbed):
    """The twenty runs: for each, how many stages were finished when it was killed, and in the end."""

    def killed_after(share):
        folder = furnished.with_name(f"after-{share:.3f}")
        for attempt in itertools.count():
            shutil.rmtree(folder, ignore_errors=True)
            process = start(copy(furnished, folder), **server)
            while process.poll() is None and spent(process) < share * length * 0.9**attempt:
                time.sleep(0.05)
            if kill(process):  # or it had ended, and is killed earlier next time
                break
        before = finished(folder)
        result, lines = finish(folder, **server)
        check_nothing_twice(before, folder, lines)
        check(folder, result, undisturbed[1])
        counts = len(before), len(finished(folder))
        shutil.rmtree(folder)
        return counts

    with ThreadPoolExecutor(MAX_CONCURRENT) as pool:
        yield {share: pool.submit(killed_after, share) for share in SHARES}
        pool.shutdown(cancel_futures=True)


@LINUX
@pytest.mark.parametrize("share", SHARES, ids=lambda share: f"after {share:.0%}")
def test_after_a_kill_at_a_random_time_the_next_start_finishes(killed, share):
    at_the_kill, in_the_end = killed[share].result()
    assert at_the_kill <= in_the_end


@LINUX
def test_the_random_times_are_before_between_and_after_the_stages(killed):
    counts = [outcome.result() for outcome in killed.values()]
    assert any(at_the_kill == 0 for at_the_kill, _ in counts)
    assert any(0 < at_the_kill < in_the_end for at_the_kill, in_the_end in counts)
    assert any(at_the_kill == in_the_end for at_the_kill, in_the_end in counts)


def boundary(moment):
    """The kind of boundary."""
    kind, _, rest = moment.partition(" ")
    return f"{kind} {rest.split('/')[0]}" if kind in ("begun", "stored") else kind


def test_a_run_that_is_killed_at_every_boundary_finishes(furnished, server, undisturbed):
    folder = copy(furnished, furnished.with_name("boundaries"))
    covered: set[str] = set()
    known = moments(folder)
    while True:
        before = finished(folder)
        process = start(folder, **server)
        new = new_moment(folder, process, known)
        if not new:
            break
        kill(process)
        new |= moments(folder) - known  # what was done between the look and the kill
        covered |= new
        known |= new
        assert before.items() <= finished(folder).items()
    assert {boundary(text) for text in covered} >= BOUNDARIES
    process.wait(timeout=1500)
    before = finished(folder)
    result, lines = finish(folder, **server)
    check_nothing_twice(before, folder, lines)
    check(folder, result, undisturbed[1])


MAKING = {
    "Prefect's database": lambda folder: (folder / "runs" / "prefect" / "prefect.db").exists(),
    "MLflow's database": lambda folder: any((folder / "runs" / "mlflow").glob(".mlflow.db-*")),
    "a version of the data": lambda folder: bool(writers(folder)),
}


@pytest.mark.parametrize("what", MAKING)
def test_after_a_kill_while_something_permanent_is_created_the_next_start_creates_it(bare, undisturbed, what):
    folder = copy(bare, bare.with_name(what.replace(" ", "-")))
    process = start(folder)
    while process.poll() is None and not MAKING[what](folder):
        time.sleep(0.005)
    assert kill(process)
    before = finished(folder)
    result, lines = finish(folder)
    check_nothing_twice(before, folder, lines)
    check(folder, result, undisturbed[1])
