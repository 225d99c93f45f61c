"""Two concurrent runs on the same data and store are both right, and compute shared stages once."""

import collections
import json
import re
import subprocess

import pytest

from tests.e2e.tiny import ENVIRONMENT, ROOT, command, copy_concept, write_experiment


@pytest.mark.slow
def test_two_concurrent_runs_share_every_stage_and_log_nothing_twice(tmp_path):
    copy_concept(tmp_path / "data", "grumble")
    study = write_experiment(tmp_path, algorithms=["lora"], captions=["none", "all"])
    runs = [
        subprocess.Popen(
            command("run", study, "--json"), cwd=ROOT, env=ENVIRONMENT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    outputs = [run.communicate(timeout=1500) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], [err[-3000:] for _, err in outputs]
    found = [json.loads(out.splitlines()[-1])["adapters"] for out, _ in outputs]
    assert [one["scores"] for one in found[0]] == [one["scores"] for one in found[1]]
    assert [one["run_id"] for one in found[0]] == [one["run_id"] for one in found[1]]
    computed = collections.Counter()
    for _, err in outputs:
        for line in err.splitlines():
            if re.match(r" *\d+/[\d?]+ ", line) and not line.endswith("cached"):
                computed[re.split(r" {3,}", line.split(" ", 1)[1].strip())[0].partition("  ")[2] or line] += 1
    stages = list((tmp_path / "runs" / "store").glob("*/*/stage.json"))
    assert computed.pop("captions grumble") == 1  # cached per image, not as a stage
    assert sum(computed.values()) == len(stages)
    assert not list((tmp_path / "runs" / "store" / ".locks").iterdir())
    assert not list((tmp_path / "runs" / "store").glob("*/.*-*"))
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow' / 'mlflow.db'}")
    logged = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert {run.info.status for run in logged} == {"FINISHED"}
    assert len(logged) == 1 + 2
    assert len(client.search_model_versions("name = 'grumble'")) == 2
