"""Build the wheel, install it into a bare environment of each Python, and use it in an empty folder.

    python .ci/wheel_test.py --python 3.12 --work DIR

An environment takes several GiB, which are deleted afterwards. The table at the end has the seconds of each step.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.interpreters import VERSIONS, find_python  # noqa: E402

MAX_IMPORT_S = 0.1
"""CPU seconds that `import lycoris` may take."""
SERVER_START_S = 600
TINY = (
    "name=tiny", "concepts=bop", "algorithms=lora", "captions=none", "steps=2", "encoders=clip", "workers=1",
    "images={train: 3, trigger: 3, alter: 4, style: 2}", "sampling.steps=2",
)  # fmt: skip
IMPORT = """
import sys, time
started = time.process_time()
import lycoris
print(time.process_time() - started)
sys.exit(str(sorted({"torch", "prefect", "mlflow", "dvc"} & set(sys.modules))) if "torch" in sys.modules or
         "prefect" in sys.modules else 0)
"""


class Installed:
    """An environment with the wheel, and an empty folder in which its commands run."""

    def __init__(self, folder: Path, interpreter: Path, installer: str):
        self.environment, self.empty = folder / "environment", folder / "empty"
        self.empty.mkdir(parents=True)
        self.interpreter, self.installer = interpreter, installer
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        self.variables = {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HOME": str(folder)}

    def call(self, *command: str | Path, program: str = "lycoris") -> str:
        """Run a program of the environment in the empty folder and return what it printed."""
        line = [str(self.environment / "bin" / program), *map(str, command)]
        done = subprocess.run(line, cwd=self.empty, env=self.variables, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(line)}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
            )
        return done.stdout

    def install(self, wheel: Path) -> None:
        """Make the environment and install the wheel with the tested versions."""
        options = ["-c", str(ROOT / "constraints.txt"), str(wheel)]
        if self.installer == "uv":
            python = str(self.environment / "bin" / "python")
            commands = [
                ["uv", "venv", "--quiet", "--python", str(self.interpreter), str(self.environment)],
                ["uv", "pip", "install", "--quiet", "--python", python, *options],
            ]
        else:
            pip = str(self.environment / "bin" / "pip")
            commands = [
                [str(self.interpreter), "-m", "venv", str(self.environment)],
                [pip, "install", "--quiet", *options],
            ]
        for command in commands:
            subprocess.run(command, check=True, cwd=self.empty)

    def check_import(self) -> None:
        """`import lycoris` is fast and imports neither torch nor Prefect."""
        self.call("-c", IMPORT, program="python")  # compiles
        seconds = float(self.call("-c", IMPORT, program="python"))
        if seconds > MAX_IMPORT_S:
            raise RuntimeError(f"`import lycoris` took {seconds:.3f} CPU-s, more than {MAX_IMPORT_S} s")

    def check_doctor(self) -> None:
        """The doctor finds no problem."""
        result = json.loads(self.call("doctor", "--json").splitlines()[-1])
        if result["problems"]:
            raise RuntimeError(str([each for each in result["findings"] if each["state"] == "problem"]))

    def check_run(self) -> None:
        """A tiny experiment ends with a report, and the version of its data is recorded."""
        options = [part for option in TINY for part in ("--set", option)]
        result = json.loads(self.call("run", *options, "--json").splitlines()[-1])
        for path in (result["report"], "data.dvc", "data/concepts.yaml", "runs/mlflow"):
            if not (self.empty / path).exists():
                raise RuntimeError(f"`{path}` is missing")
        if not result["data_version"].endswith(".dir"):
            raise RuntimeError(f"the version of the data is {result['data_version']}")

    def check_plan(self) -> None:
        """A study of the wheel is planned."""
        if "4 caption strategies" not in self.call("study", "captions", "--plan"):
            raise RuntimeError("the plan does not name what it compares")

    def check_server(self) -> None:
        """The servers start, and stop after Ctrl-C."""
        ports = [part for name in ("prefect", "mlflow") for part in (f"--{name}-port", str(_free_port()))]
        command = [str(self.environment / "bin" / "lycoris"), "server", *ports]
        with open(self.empty / "server.log", "w+") as log:
            server = subprocess.Popen(
                command, cwd=self.empty, env=self.variables, stdout=log, stderr=log, preexec_fn=_accept_interrupts
            )
            try:
                deadline = time.monotonic() + SERVER_START_S
                while "Press Ctrl-C" not in (text := Path(log.name).read_text()):
                    if server.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError(f"the servers did not start: {text[-2000:]}")
                    time.sleep(0.5)
                server.send_signal(signal.SIGINT)
                if status := server.wait(timeout=120):
                    raise RuntimeError(
                        f"the servers stopped with status {status}: {Path(log.name).read_text()[-2000:]}"
                    )
            finally:
                if server.poll() is None:
                    server.kill()


def _accept_interrupts() -> None:
    """Obey Ctrl-C, which a process ignores that a shell has started in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def build_wheel(folder: Path) -> Path:
    """Build the wheel and return its path."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def test_version(version: str, wheel: Path, folder: Path, installer: str) -> list[str]:
    """Install the wheel under one version of Python and run every check; return a line for each step."""
    interpreter = find_python(version)
    if interpreter is None:
        return [f"{version}  skipped: there is no Python {version} on this machine"]
    installed = Installed(folder, interpreter, installer)
    steps: list[tuple[str, Callable[[], object]]] = [
        ("install", lambda: installed.install(wheel)),
        ("import", installed.check_import),
        ("version", lambda: installed.call("--version")),
        ("doctor", installed.check_doctor),
        ("run", installed.check_run),
        ("plan", installed.check_plan),
        ("server", installed.check_server),
    ]
    lines = []
    for name, step in steps:
        started = time.monotonic()
        try:
            step()
            state = "ok"
        except (RuntimeError, subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
            state = f"FAILED {error}"
        lines.append(f"{version}  {name:<8}{time.monotonic() - started:7.1f} s  {state}")
        print(lines[-1], flush=True)
        if state != "ok" and name == "install":
            break
    return lines


def main() -> int:
    """Test each version; 1 if a step failed or no version was tested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", choices=VERSIONS, help="a version; repeatable; default: all")
    parser.add_argument("--installer", choices=("pip", "uv"), default="pip", help="what installs the wheel")
    parser.add_argument("--work", type=Path, help="folder of the environments; default: a temporary one")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    options = parser.parse_args()
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="wheel-test-", dir=options.work))
    lines = []
    try:
        wheel = build_wheel(work)
        for version in options.python or VERSIONS:
            lines += test_version(version, wheel, work / version, options.installer)
            if not options.keep:
                shutil.rmtree(work / version, ignore_errors=True)
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
    print("\n".join(["", *lines]))
    return int(any("FAILED" in line for line in lines) or all("skipped" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
