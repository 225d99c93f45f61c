"""What must be true of a study's folder once the command has succeeded, regardless of what happened before."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from lycoris.cache.integrity import file_digest, find_corruption
from tests.faults.killing import finished

STAGES = ("adapter", "images", "features", "scores")


def adapter_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each adapter file, exported and in the store."""
    runs = folder / "runs"
    files = [*(runs / "tiny" / "adapters").glob("*"), *(runs / "store" / "adapter").glob("*/*.safetensors")]
    return {"/".join(file.parts[-2:]): file_digest(file) for file in files}


def check_nothing_twice(before: Mapping[str, Any], folder: Path, lines: list[str]) -> None:
    """Finished stages are unchanged, and exactly the other steps were not cached."""
    after = finished(folder)
    assert {name: after.get(name) for name in before} == dict(before)
    steps = [line for line in lines if re.match(r" *\d+/[\d?]+ ", line)]
    stages = [line for line in steps if "  captions" not in line]
    assert len(stages) == len(after), lines
    assert sum(line.endswith("cached") for line in stages) == len(before), (lines, sorted(before))


def check_whole(folder: Path) -> None:
    """Every file is complete, and no unfinished work is left."""
    store = folder / "runs" / "store"
    left = [*store.glob("*/.*"), *(store / ".locks").glob("*"), *(store / "unfinished").glob("*")]
    assert [path for path in left if path.parent.name != ".locks" or path.suffix == ".lock"] == []
    for record in store.glob("*/*/stage.json"):
        assert find_corruption(record.parent, json.loads(record.read_text())["files"]) is None
    for stage in STAGES:
        assert all((made / "stage.json").is_file() for made in (store / stage).iterdir())
    for file in (folder / "runs").rglob("*.json"):
        json.loads(file.read_text())
    for file in (folder / "runs").rglob("*.png"):
        with Image.open(file) as picture:
            picture.load()
    for file in (folder / "runs").rglob("*.safetensors"):
        from safetensors import safe_open

        with safe_open(file, framework="pt") as opened:
            assert [opened.get_tensor(name) for name in opened.keys()]  # noqa: SIM118
    assert (folder / "runs" / "tiny" / "report.html").read_text().rstrip().endswith("</html>")


def check_tracking(folder: Path, result: Mapping[str, Any], uri: str | None = None) -> None:
    """Every run is finished, and every adapter has one run, one model and one version with all its tags."""
    import mlflow

    database = folder / "runs" / "mlflow" / "mlflow.db"
    if uri is None:
        with closing(sqlite3.connect(database)) as opened:
            assert opened.execute("pragma integrity_check").fetchone() == ("ok",)
        assert [path.name for path in database.parent.iterdir() if path.is_file()] == [database.name]
        uri = f"sqlite:///{database}"
    client = mlflow.MlflowClient(uri, uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = {run.info.run_id: run for run in client.search_runs(experiments)}
    adapters = {adapter["run_id"] for adapter in result["adapters"]}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert len(runs) == 1 + len(adapters)
    assert adapters < runs.keys()
    for run_id in adapters:
        history = client.get_metric_history(run_id, "loss")
        assert [point.step for point in history] == list(range(1, len(history) + 1))
        with TemporaryDirectory() as place:
            rows = json.loads(Path(client.download_artifacts(run_id, "captions.json", place)).read_text())["data"]
        assert len(rows) == len({json.dumps(row) for row in rows}) > 0
    versions = client.search_model_versions("")
    assert sorted(version.run_id for version in versions) == sorted(adapters)
    assert len({version.tags["pipeline.key"] for version in versions}) == len(versions)
    assert len(client.search_logged_models(experiments)) == len(versions)
    (model,) = client.search_registered_models()
    assert model.aliases.keys() == {"challenger"}  # six steps teach too little for a champion


def writers(folder: Path) -> list[Any]:
    """The entries of DVC's list of readers and writers."""
    held = folder / ".dvc" / "tmp" / "rwlock"
    try:
        return [each for each in json.loads(held.read_text()).values() if each]
    except (FileNotFoundError, json.JSONDecodeError):
        return []


def check_data(folder: Path, result: Mapping[str, Any]) -> None:
    """The data version is recorded completely, and no DVC lock is held."""
    from tasks.data_versions import checkout, dvc, manifest

    assert manifest.read_pointer(folder / "data.dvc") == result["data_version"]
    assert dvc.with_repo(folder, lambda repo: repo.status(), attempts=1) == {}
    assert checkout.is_available(result["data_version"], folder)
    assert not writers(folder)


def check(folder: Path, result: Mapping[str, Any], expected: Mapping[str, str]) -> None:
    """All of the above; the adapter files equal those of an undisturbed run."""
    assert not any("error" in adapter for adapter in result["adapters"])
    check_whole(folder)
    check_tracking(folder, result)
    check_data(folder, result)
    assert adapter_digests(folder) == dict(expected)
