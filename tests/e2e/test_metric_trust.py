"""Metrics and caption strategies against the ground truth of a finished study."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.studies import caption_effects, metric_trust
from flows.studies.generated_images import load_study_images
from lycoris.errors import InputError
from lycoris.metrics import METRICS
from lycoris.terms import RESIZE_MODES
from tests.e2e.tiny import ENVIRONMENT, ROOT, copy_concept, json_result, run_lycoris, write_experiment


def run_study(folder: Path, **experiment) -> Path:
    """Run a tiny study of one concept; returns its output folder."""
    copy_concept(folder / "data", "grumble")
    json_result(run_lycoris("run", write_experiment(folder, encoders=["clip"], **experiment), "--json"))
    return folder / "runs"


def run_module(name: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"flows.studies.{name}", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


OF_WORDS = {"text_similarity", "attribute_recall", "attribute_precision", "vqa_score"}
"""Metrics of what the training captions say, which are the trigger alone under the strategy `none`."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A study of two algorithms and two caption strategies."""
    return run_study(tmp_path_factory.mktemp("trust"), algorithms=["lora", "loha"], captions=["none", "all"])


def test_a_study_gives_a_correlation_for_every_metric_and_mode(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{metric_trust.PAGE_MARKERS[0]}\nold\n{metric_trust.PAGE_MARKERS[1]}\nafter\n")
    done = run_module("metric_trust", runs, "--encoders", "clip", "--write", page)
    rows = json.loads(done.stdout.splitlines()[-1])["trust"]
    assert {row["mode"] for row in rows} == set(RESIZE_MODES)
    default = {name for name, metric in METRICS.items() if metric.by_default and metric.feature_kind != "prediction"}
    assert {row["metric"] for row in rows} >= {name for name in default if not METRICS[name].styles_only}
    for row in rows:
        assert row["adapters"] == (2 if row["metric"] in OF_WORDS else 4)
        if row["correlation"] is not None:
            assert -1 <= row["low"] <= row["high"] <= 1
    written = page.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "| `image_similarity` | fidelity | clip |" in written
    assert "old" not in written


def test_a_cache_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        load_study_images(tmp_path)


def test_a_page_without_markers_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(InputError, match="markers"):
        metric_trust.insert_table("x", tmp_path / "page.md")


def test_caption_effects_are_measured_pair_by_pair(runs: Path) -> None:
    done = run_module("caption_effects", runs)
    effects = json.loads(done.stdout.splitlines()[-1])["gaps"]
    assert {effect["category"] for effect in effects} == {"movie_characters"}
    fidelity = [effect for effect in effects if effect["what"] == "fidelity" and effect["kind"] == "alter"]
    assert len(fidelity) == 2
    assert all(-1 <= effect["gap"] <= 1 for effect in effects)
    assert "| fidelity | alter | " in done.stdout
    reversed_effects = caption_effects.caption_effects(runs, "all", "none")
    assert [effect["gap"] for effect in reversed_effects] == pytest.approx([-effect["gap"] for effect in effects])


def test_caption_strategies_that_the_study_lacks_are_an_error(runs: Path) -> None:
    with pytest.raises(InputError, match="no adapters with `sentence` and `all` captions"):
        caption_effects.caption_effects(runs, "sentence", "all")
