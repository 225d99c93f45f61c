"""While a training runs, its loss, learning rate and sample images grow in MLflow; the adapter's run completes them."""

import io
import logging

import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file

from lycoris import bases, pocket
from lycoris.metrics import Score
from tasks.artifacts import ImageSet, ModelRef, RunContext, RunSpec, SamplingSettings
from tasks.data_versions.manifest import DataVersion
from tasks.runtime import curves, progress
from tasks.runtime.adapter_training import AdapterTraining, run_trainings
from tasks.runtime.curves import CurveReporter
from tasks.runtime.progress import Display
from tasks.tracking.adapter_record import AdapterRun
from tasks.tracking.adapter_runs import log_adapter
from tasks.tracking.client import connect, tracking_server
from tasks.tracking.live_curves import LiveCurves
from tasks.tracking.runs import open_study
from tasks.trainings import AdapterSettings, SampleOptions, TrainingRequest, TrainingSummary

STEPS = 4
TRAINING = {"steps": STEPS, "batch_size": 1, "learning_rate": 1e-3, "schedule": "linear"}
SCORE = Score("image_similarity/trigger/clip", 0.5, None, None, 0.1, None, None, 0.02, None, None, "fidelity", True)


@pytest.fixture(autouse=True)
def no_address(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def study(tmp_path):
    version = DataVersion(f"{1:032x}.dir", tmp_path, 1, 1, "unchanged")
    return open_study(tracking_server(tmp_path), "study", "key", {}, version)


def training(store):
    images = tuple(sorted((pocket.IMAGES / "movie_characters" / "grumble").glob("*.png"))[:1])
    request = TrainingRequest(
        spec=RunSpec("grumble", "lora", "none", 0, checkpoint_unit="step"),
        base=ModelRef("pocket", bases.digest("pocket")),
        images=ImageSet(images, "0"),
        captions=("a ohw bear",),
        settings=AdapterSettings("lora", "attn-only", rank=1, alpha=1.0, training=TRAINING),
        samples=SampleOptions(2, ("a ohw bear",), (1000,), SamplingSettings("ddim", 1, 1.0, 1000, 1)),
    )
    return AdapterTraining(RunContext(store, store / "progress", device="cpu"), request)


def child(client, study):
    experiment = client.get_run(study.run_id).info.experiment_id
    (run,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{study.run_id}'")
    return run


def history(client, run, name):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def test_metrics_grow_between_two_steps_and_the_run_of_the_adapter_completes_them(tmp_path, study, monkeypatch):
    monkeypatch.setattr(curves, "INTERVAL", 1)
    work, client, counts, losses = training(tmp_path / "store"), connect(study.server), [], []
    shown = Display(tmp_path / "store" / "progress", Console(file=io.StringIO()), on_curve=LiveCurves(study))

    def between_steps(done, total, loss):
        losses.append(round(loss, 6))
        shown._handle_curves()
        counts.append(len(history(client, child(client, study), "loss")))

    run_trainings([work], between_steps, reporters=[CurveReporter.of_training(work)])
    assert counts == [1, 2, 3, 4]
    run = child(client, study)
    assert run.info.status == "RUNNING"
    assert history(client, run, "loss") == list(enumerate(losses, 1))
    assert history(client, run, "learning_rate") == [(n + 1, pytest.approx(1e-3 * (1 - n / 4))) for n in range(STEPS)]
    files = [entry.path for entry in client.list_artifacts(run.info.run_id, "images")]
    assert sum(file.endswith(".png") for file in files) == 3  # at steps 0, 2 and 4

    adapter = tmp_path / "adapter.safetensors"
    save_file({"x": torch.zeros(1)}, adapter)
    Image.new("RGB", (8, 8)).save(tmp_path / "sheet.png")
    logged = log_adapter(
        study,
        AdapterRun(
            key="scored",
            spec=work.request.spec,
            settings=work.request.settings,
            summary=TrainingSummary.read(work.work_dir),
            curves={"loss": list(enumerate(losses, 1))},
            samples=[],
            scores=[SCORE],
            captions=[{"picture": "1.png", "strategy": "none", "caption": "x"}],
            file=adapter,
            contact_sheet=tmp_path / "sheet.png",
            base=work.request.base,
            lineage={"base.digest": "0", "adapter.key": run.data.tags["pipeline.training"]},
        ),
    )
    assert logged.run_id == run.info.run_id
    completed = child(client, study)
    assert (completed.info.status, completed.data.tags["pipeline.kind"]) == ("FINISHED", "adapter")
    assert history(client, completed, "loss") == list(enumerate(losses, 1))


def test_a_training_whose_adapter_was_not_logged_is_closed_as_failed(study):
    live = LiveCurves(study)
    live({"key": "k", "name": "n", "points": [(1, 0.5, 1e-3, 1000), (2, 0.4, 1e-3, 3000)], "samples": []})
    client = connect(study.server)
    run = child(client, study)
    times = [point.timestamp for point in client.get_metric_history(run.info.run_id, "loss")]
    assert (run.info.start_time, times) == (1000, [1000, 3000])  # of the steps, not of the report
    live.close()
    assert child(connect(study.server), study).info.status == "FAILED"


def test_what_cannot_be_logged_is_named_once_and_stops_nothing(study, tmp_path, caplog):
    (tmp_path / "damaged.png").write_bytes(b"no image")
    live = LiveCurves(study)
    for _ in range(2):
        live(
            {
                "key": "k",
                "name": "n",
                "points": [(1, 0.5, 1e-3, 1000)],
                "samples": [(1, [str(tmp_path / "damaged.png")])],
            }
        )
    live.close()
    assert caplog.text.count("Curves are not logged to MLflow") == 1


def test_where_there_is_no_terminal_a_running_step_gets_a_line_once_in_an_interval(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="lycoris.steps")
    out = io.StringIO()
    shown = Display(tmp_path, Console(file=out, width=110))
    with progress.track_step(tmp_path, "adapter  grumble · lora") as bar:
        bar(45, 120, 0.1234)
        shown._print_running()
        assert out.getvalue() == ""
        monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.0)
        shown._print_running()
    line = " ".join(out.getvalue().split())
    assert line == "running adapter grumble · lora at 45 of 120 training steps loss 0.123"


@pytest.mark.parametrize(
    ("label", "unit"), [("images   bear", "sampling steps"), ("features bear", "images"), ("captions bear", "images")]
)
def test_the_count_of_a_running_step_says_what_it_counts(label, unit):
    assert progress.step_unit(label) == unit
