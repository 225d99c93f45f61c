"""The claim that `kill -9` of a run, whenever it comes, costs what was half done and nothing else.

The command is killed with all its processes: at twenty moments drawn by chance, one in each twentieth of the processor
time of an undisturbed run, each in a folder of its own; at each boundary of a stage, as it is seen in the folder and in
the tracking database, one after another in one folder; and while databases and the data's version are made.
"""

import itertools
import random
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.claims import STAGES, check, check_nothing_twice, writers
from tests.faults.killing import AT_ONCE, copy, finish, finished, kill, moments, new_moment, spent, start

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux, to tell processor time")
MOMENTS = 20
CHANCE = random.Random(20)
SHARES = [(number + CHANCE.random()) / MOMENTS for number in range(MOMENTS)]
"""One moment in each twentieth of a run, as a share of its length."""

BOUNDARIES = {"captions", "run", "finished", "model", "version", "alias", "made"} | {
    *(f"kept {stage}" for stage in STAGES),
    *("begun adapter", "begun images", "begun features"),
}
"""What a run in pieces must have been killed at, at least."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(furnished):
    """The environment of runs that share a Prefect server, to save its start each time."""
    from flows.runtime.prefect_server import prefect_server

    home = shutil.copytree(furnished / "runs" / "prefect", furnished.with_name("server"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        patch.delenv("PREFECT_API_URL", raising=False)
        with prefect_server(home) as url:
            yield {"PREFECT_HOME": str(home), "PREFECT_API_URL": url}


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
    """The twenty runs, as many at once as there are cores, two at most.

    For each, how many stages were finished at the kill, and in the end.
    """

    def killed_after(share):
        folder = furnished.with_name(f"after-{share:.3f}")
        for attempt in itertools.count():
            shutil.rmtree(folder, ignore_errors=True)
            process = start(copy(furnished, folder), **server)
            while process.poll() is None and spent(process) < share * length * 0.9**attempt:
                time.sleep(0.05)
            if kill(process):  # else it had ended before, and is killed earlier
                break
        before = finished(folder)
        result, told = finish(folder, **server)
        check_nothing_twice(before, folder, told)
        check(folder, result, undisturbed[1])
        counts = len(before), len(finished(folder))
        shutil.rmtree(folder)
        return counts

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {share: pool.submit(killed_after, share) for share in SHARES}
        pool.shutdown(cancel_futures=True)


@LINUX
@pytest.mark.parametrize("share", SHARES, ids=lambda share: f"after {share:.0%}")
def test_killed_at_a_random_moment_the_next_start_finishes(killed, share):
    at_the_kill, in_the_end = killed[share].result()
    assert at_the_kill <= in_the_end


@LINUX
def test_the_random_moments_lie_before_between_and_after_the_stages(killed):
    counts = [outcome.result() for outcome in killed.values()]
    assert any(at_the_kill == 0 for at_the_kill, _ in counts)
    assert any(0 < at_the_kill < in_the_end for at_the_kill, in_the_end in counts)
    assert any(at_the_kill == in_the_end for at_the_kill, in_the_end in counts)


def boundary(moment):
    """What a moment is one of."""
    kind, _, rest = moment.partition(" ")
    return f"{kind} {rest.split('/')[0]}" if kind in ("begun", "kept") else kind


def test_killed_at_every_boundary_of_a_stage_a_run_comes_to_its_end(furnished, server, undisturbed):
    folder = copy(furnished, furnished.with_name("boundaries"))
    seen: set[str] = set()
    known = moments(folder)
    while True:
        before = finished(folder)
        process = start(folder, **server)
        new = new_moment(folder, process, known)
        if not new:
            break
        kill(process)
        seen |= new
        known |= moments(folder) | new
        assert before.items() <= finished(folder).items()
    assert {boundary(text) for text in seen} >= BOUNDARIES
    process.wait(timeout=1500)
    before = finished(folder)
    result, told = finish(folder, **server)
    check_nothing_twice(before, folder, told)
    check(folder, result, undisturbed[1])


MAKING = {
    "Prefect's database": lambda folder: (folder / "runs" / "prefect" / "prefect.db").exists(),
    "MLflow's database": lambda folder: any((folder / "runs" / "mlflow").glob(".mlflow.db-*")),
    "a version of the data": lambda folder: bool(writers(folder)),
}


@pytest.mark.parametrize("what", MAKING)
def test_killed_while_something_is_made_for_good_the_next_start_makes_it(bare, undisturbed, what):
    folder = copy(bare, bare.with_name(what.replace(" ", "-")))
    process = start(folder)
    while process.poll() is None and not MAKING[what](folder):
        time.sleep(0.005)
    assert kill(process)
    before = finished(folder)
    result, told = finish(folder)
    check_nothing_twice(before, folder, told)
    check(folder, result, undisturbed[1])
