"""A clock that is set back during a run changes no result and no cached stage."""

import shutil
import subprocess

import pytest

from tests.faults.claims import check, check_nothing_twice
from tests.faults.killing import copy, finish, finished, new_moment, start

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long back(void) {
    const char *file = getenv("CLOCK_IS_BACK");
    return file && access(file, F_OK) == 0 ? 3 * 86400L : 0;
}
int clock_gettime(clockid_t which, struct timespec *found) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(which, found);
    if (status == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) found->tv_sec -= back();
    return status;
}
int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
"""
"""A preloaded library whose clock is three days slow once a file exists."""

COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler, to make a clock that can be set")
def test_a_clock_set_back_during_a_run_changes_nothing(furnished, undisturbed, tmp_path):
    source, library, is_back = tmp_path / "clock.c", tmp_path / "clock.so", tmp_path / "is back"
    source.write_text(SHIM)
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    clock = {"LD_PRELOAD": str(library), "CLOCK_IS_BACK": str(is_back)}
    folder = copy(furnished, furnished.with_name("clock"))
    process = start(folder, **clock)
    covered = set()
    while not any(text.startswith("stored adapter") for text in covered):
        new = new_moment(folder, process, covered)
        assert new, (folder / "err").read_text()[-3000:]
        covered |= new
    is_back.touch()
    assert process.wait(timeout=1500) == 0, (folder / "err").read_text()[-3000:]
    made = finished(folder)
    result, lines = finish(folder, **clock)
    check_nothing_twice(made, folder, lines)
    check(folder, result, undisturbed[1])
