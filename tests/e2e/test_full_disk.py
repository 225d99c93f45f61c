"""A full disk is an error that says so; once there is space, the same command resumes."""

import json
import shlex
import shutil
import subprocess

import pytest

from tests.e2e.tiny import ENVIRONMENT, ROOT, command, copy_concept, write_experiment

NAMESPACE = ("unshare", "--map-root-user", "--mount")
"""A command that may mount its own file systems, in a private namespace."""


def small_disks() -> bool:
    if not shutil.which("unshare"):
        return False
    probe = [*NAMESPACE, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not small_disks(), reason="needs Linux user namespaces, to mount a small file system")
@pytest.mark.parametrize(
    "megabytes",
    [pytest.param(6, id="in a training"), pytest.param(14, id="later")],
)
def test_a_full_disk_is_an_error_and_the_next_run_resumes(tmp_path, megabytes):
    copy_concept(tmp_path / "data", "grumble")
    run = shlex.join(command("run", write_experiment(tmp_path), "--json"))
    runs = tmp_path / "runs"
    runs.mkdir()
    script = f"""
        mount -t tmpfs -o size={megabytes}m tmpfs {runs} || exit 99
        {run} > {tmp_path}/first.out 2> {tmp_path}/first.err
        echo $? > {tmp_path}/first.status
        mount -o remount,size=900m {runs} || exit 99
        {run} > {tmp_path}/second.out 2> {tmp_path}/second.err
    """
    done = subprocess.run([*NAMESPACE, "sh", "-c", script], cwd=ROOT, env=ENVIRONMENT, check=False, timeout=900)
    message = (tmp_path / "first.err").read_text()
    assert (tmp_path / "first.status").read_text().strip() in ("1", "2"), message
    assert "is full" in message
    assert "Traceback" not in message
    assert done.returncode == 0, (tmp_path / "second.err").read_text()[-3000:]
    adapters = json.loads((tmp_path / "second.out").read_text().splitlines()[-1])["adapters"]
    assert len(adapters) == 4
    assert not any("error" in adapter for adapter in adapters)
