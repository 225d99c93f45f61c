"""Checks of what a run reaches or shares: the hub and its cache, servers, locks."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

from flows.config.project import project_root
from flows.runtime.health.finding import Finding
from lycoris.cache.processes import is_process_running
from lycoris.cache.store import LOCKS_DIR
from lycoris.safety.redaction import redact

TIMEOUT_S = 5.0
LOCK_AGE_S = 60.0
"""From this age on, a lock of git or DVC that no process holds counts as left over."""


def check_hub(_: Path) -> list[Finding]:
    """Check whether the Hugging Face hub answers, and name its cache."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    repositories = len(list(cache.glob("models--*"))) if cache.is_dir() else 0
    findings = [Finding("hub cache", "ok", f"{repositories} models in {cache}")]
    nearest = next(path for path in (cache, *cache.parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        findings = [Finding("hub cache", "note", f"{cache} cannot be written", "Set HF_HOME to a folder of yours.")]
    if constants.HF_HUB_OFFLINE:
        return [Finding("hub", "ok", "HF_HUB_OFFLINE is set: only models in the cache are used"), *findings]
    if (reason := _unreachable(constants.ENDPOINT)) is None:
        return [Finding("hub", "ok", f"{redact(constants.ENDPOINT)} answers"), *findings]
    text = f"{redact(constants.ENDPOINT)} does not answer ({reason}): only models in the cache can be used"
    remedy = (
        "The pocket needs no hub. Check HTTPS_PROXY, or set HF_ENDPOINT to a mirror; HF_HUB_OFFLINE=1 saves waiting."
    )
    return [Finding("hub", "note", text, remedy), *findings]


def check_servers(_: Path) -> list[Finding]:
    """Check that the servers that the environment names answer, and that their disk has room."""
    findings = []
    for topic, variable, path in (
        ("prefect", "PREFECT_API_URL", "/health"),
        ("mlflow", "MLFLOW_TRACKING_URI", "/health"),
    ):
        address = os.environ.get(variable, "")
        if not address:
            own = "a server of its own for each run" if topic == "prefect" else "a folder of each output folder"
            findings.append(Finding(topic, "ok", f"{variable} is not set: {own}"))
        elif not address.startswith(("http://", "https://")):
            findings.append(Finding(topic, "ok", f"{redact(address)}"))
        elif (reason := _unreachable(f"{address.rstrip('/')}{path}")) is None:
            findings.append(Finding(topic, "ok", f"{redact(address)} answers"))
        else:
            remedy = f"Start it (`lycoris server`), or `unset {variable}`."
            findings.append(Finding(topic, "problem", f"{redact(address)} does not answer ({reason})", remedy))
    if shutil.which("git") is None:
        findings.append(Finding("git", "note", "git is not installed", "Earlier versions of the data need it."))
    return findings


def check_locks(output: Path) -> list[Finding]:
    """Find locks that were left behind, and those that another process holds."""
    findings = [*_check_git_and_dvc(project_root()), *_check_store(output / "store")]
    return findings or [Finding("locks", "ok", "none is left over")]


def _check_git_and_dvc(project: Path) -> list[Finding]:
    findings = []
    index = project / ".git" / "index.lock"
    if index.is_file() and time.time() - index.stat().st_mtime > LOCK_AGE_S:
        findings.append(Finding("locks", "problem", f"{index} is older than a minute", f"If no git runs: rm {index}"))
    rwlock = project / ".dvc" / "tmp" / "rwlock"
    if pids := [pid for pid in _lock_holders(rwlock) if not is_process_running(pid)]:
        text = f"{rwlock} names processes that have ended: {', '.join(map(str, pids))}"
        findings.append(Finding("locks", "problem", text, f"If no DVC runs: rm {rwlock}"))
    return findings


def _lock_holders(rwlock: Path) -> list[int]:
    """The processes that DVC's file of locks names."""
    try:
        content = json.loads(rwlock.read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError):
        return []
    holders = []
    for entry in content.values():
        for one in [entry.get("write") or [], *(entry.get("read") or [])]:
            holders += [each["pid"] for each in (one if isinstance(one, list) else [one]) if each.get("pid")]
    return sorted(set(holders))


def _check_store(store: Path) -> list[Finding]:
    """The system frees a lock of the store when its process ends, so a file is in use or harmless."""
    from filelock import FileLock, Timeout

    held = []
    files = sorted(store.glob(f"{LOCKS_DIR}/*.lock"))
    for file in files:
        try:
            with FileLock(file, timeout=0):
                pass
        except Timeout:
            held.append(file)
        except OSError:
            continue
    if held:
        return [
            Finding(
                "locks",
                "note",
                f"{len(held)} stages in {store} are computed by other runs",
                "They wait for each other.",
            )
        ]
    return (
        [Finding("locks", "ok", f"{len(files)} files of ended runs in {store / LOCKS_DIR}; the next run removes them")]
        if files
        else []
    )


def _unreachable(address: str) -> str | None:
    """Why an address does not answer; None if it does, even if it refuses."""
    if not address.startswith(("http://", "https://")):
        return "the address must start with http:// or https://"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S):
            return None
    except urllib.error.HTTPError as error:
        return None if error.code < 500 else f"status {error.code}"
    except (urllib.error.URLError, OSError, ValueError) as error:
        return redact(str(getattr(error, "reason", error)))
