"""From a finished study to how far each metric can be trusted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.studies import caption_effects, metric_trust
from lycoris.errors import InputError
from lycoris.metrics import METRICS
from tests.flows.tiny import ENVIRONMENT, ROOT, copy_concept, json_result, run_lycoris, write_experiment


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trust")
    copy_concept(folder / "data", "grumble")
    algorithms = ["lora", "full", "loha", {"algorithm": "lora", "rank": 2}]
    json_result(
        run_lycoris(
            "run", write_experiment(folder, algorithms=algorithms, captions=["none"], encoders=["clip"]), "--json"
        )
    )
    return folder / "runs"


def test_a_study_gives_a_correlation_for_every_metric_and_mode(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{metric_trust.PAGE_MARKERS[0]}\nold\n{metric_trust.PAGE_MARKERS[1]}\nafter\n")
    command = [
        sys.executable,
        "-m",
        "flows.studies.metric_trust",
        str(runs),
        "--encoders",
        "clip",
        "--write",
        str(page),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(done.stdout.splitlines()[-1])["trust"]
    assert {row["mode"] for row in rows} == set(metric_trust.RESIZE_MODES)
    default = {name for name, each in METRICS.items() if each.by_default and each.feature_kind != "rating"}
    assert {row["metric"] for row in rows} >= {name for name in default if not METRICS[name].styles_only}
    for row in rows:
        assert row["adapters"] == 4
        if row["correlation"] is not None:
            assert -1 <= row["low"] <= row["high"] <= 1
    written = page.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "| `image_similarity` | fidelity | clip |" in written
    assert "old" not in written


def test_a_store_without_drawings_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no drawings"):
        metric_trust.load_study_images(tmp_path)
    with pytest.raises(InputError, match="marks"):
        (tmp_path / "page.md").write_text("nothing")
        metric_trust.write_table("x", tmp_path / "page.md")


@pytest.fixture(scope="module")
def captioned(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    copy_concept(folder / "data", "grumble")
    file = write_experiment(folder, algorithms=["lora", "loha"], captions=["none", "all"], encoders=["clip"])
    json_result(run_lycoris("run", file, "--json"))
    return folder / "runs"


def test_what_captions_truly_changed_is_told_pair_by_pair(captioned: Path) -> None:
    command = [sys.executable, "-m", "flows.studies.caption_effects", str(captioned), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    gaps = json.loads(done.stdout.splitlines()[-1])["gaps"]
    assert {one["category"] for one in gaps} == {"movie_characters"}
    fidelity = [one for one in gaps if one["what"] == "fidelity" and one["kind"] == "alter"]
    assert len(fidelity) == 2
    assert all(-1 <= one["gap"] <= 1 for one in gaps)
    assert "| fidelity | alter | " in done.stdout
    turned = caption_effects.caption_effects(captioned, "all", "none")
    assert [one["gap"] for one in turned] == pytest.approx([-one["gap"] for one in gaps])


def test_captions_that_were_not_tried_are_an_error(captioned: Path) -> None:
    with pytest.raises(InputError, match="no adapters with `sentence` and `all` captions"):
        caption_effects.caption_effects(captioned, "sentence", "all")
