"""A training as a stage: the same file for the same seed, and checkpoints as stages of their own."""

import base64
import hashlib
import io
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import lycoris
from lycoris import bases, pocket
from lycoris.cache.integrity import file_digest
from tasks.artifacts import ImageSet, ModelRef, RunContext, RunSpec, SamplingSettings
from tasks.runtime.adapter_training import ADAPTER_FILE
from tasks.train import train_adapter
from tasks.trainings import AdapterSettings, SampleOptions, TrainingRequest, TrainingSummary, ValidationOptions

TRAINING = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3}
SETTINGS = AdapterSettings("lora", "attn-mlp", rank=2, alpha=2.0, training=TRAINING)
SAMPLES = SampleOptions(4, ("a ohw bear",), (1000,), SamplingSettings("ddim", 1, 1.0, 1000, 1))
MONITORING = {"validation": ValidationOptions(hold_out=1, every=2, noise_levels=2), "samples": SAMPLES}
IMAGES = tuple(sorted((pocket.IMAGES / "movie_characters" / "grumble").glob("*.png"))[:4])


def trained(store, checkpoints=(), monitoring=None, **settings):
    store.mkdir(exist_ok=True)
    request = TrainingRequest(
        spec=RunSpec("grumble", "lora", "none", 0, checkpoint_unit="step"),
        base=ModelRef("pocket", bases.digest("pocket")),
        images=ImageSet(IMAGES, "0"),
        captions=("a ohw bear",) * len(IMAGES),
        settings=replace(SETTINGS, training={**TRAINING, **settings}),
        checkpoints=checkpoints,
        trigger="ohw bear",
        **(monitoring or {}),
    )
    return train_adapter.fn(RunContext(store, device="cpu"), request)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("one") / "store", (1, 3), MONITORING)


def test_the_same_training_elsewhere_gives_the_same_bytes(first, tmp_path):
    again = trained(tmp_path / "other", (1, 3), MONITORING)
    for checkpoint in (None, 1, 3):
        one, other = first.at_checkpoint(checkpoint), again.at_checkpoint(checkpoint)
        assert file_digest(one.folder / ADAPTER_FILE) == file_digest(other.folder / ADAPTER_FILE)
        assert str(one.folder.parents[2]) not in json.dumps(lycoris.read_metadata(one.folder / ADAPTER_FILE))
    assert len({file_digest(first.at_checkpoint(checkpoint).folder / ADAPTER_FILE) for checkpoint in (None, 1, 3)}) == 3


def test_each_checkpoint_records_what_was_known_then(first):
    for checkpoint, step in ((1, 1), (3, 3), (None, 4)):
        artifact = first.at_checkpoint(checkpoint)
        summary = TrainingSummary.read(artifact.folder)
        header = lycoris.read_metadata(artifact.folder / ADAPTER_FILE)
        assert (header["step"], float(header["epoch"])) == (str(step), pytest.approx(step * 2 / 3, rel=1e-5))
        assert summary.step == len(summary.losses) == len(summary.binned_losses["quarter_1"]) == step
        records = [record["step"] for record in summary.callback_records if "validation" in record]
        assert records == [s for s in (0, 2, 4) if s <= step]
    assert sorted(folder.name for folder in (first.final.folder / "samples").iterdir()) == ["0", "4"]


def test_a_shorter_list_trains_nothing_and_a_new_checkpoint_is_trained(first):
    store = first.final.folder.parents[1]
    fewer = trained(store, (3,), MONITORING)
    assert (fewer.final.cached, fewer.at_checkpoint(3).cached) == (True, True)
    more = trained(store, (3, 2), MONITORING)
    assert {checkpoint: more.at_checkpoint(checkpoint).cached for checkpoint in (None, 3, 2)} == {
        None: True,
        3: True,
        2: False,
    }
    assert lycoris.read_metadata(more.at_checkpoint(2).folder / ADAPTER_FILE)["step"] == "2"
    assert (
        len({one.key for one in (more.final, more.at_checkpoint(2), more.at_checkpoint(3), first.at_checkpoint(1))})
        == 4
    )
    assert not any((store / "unfinished").iterdir())


def test_monitoring_without_holding_out_changes_no_weight(tmp_path):
    plain = trained(tmp_path / "plain")
    watched = trained(tmp_path / "watched", (2,), {"samples": SAMPLES})
    one, other = (load_file(made.final.folder / ADAPTER_FILE) for made in (plain, watched))
    assert set(one) == set(other)
    assert all(torch.equal(values, other[name]) for name, values in one.items())


def test_headers_hold_what_model_managers_read(first):
    header = lycoris.read_metadata(first.final.folder / ADAPTER_FILE)
    assert header["modelspec.trigger_phrase"] == "ohw bear"
    assert json.loads(header["ss_tag_frequency"]) == {"1_grumble": {"a ohw bear": len(IMAGES)}}
    assert (header["modelspec.resolution"], header["ss_resolution"]) == ("64x64", "(64, 64)")
    kind, _, code = header["modelspec.thumbnail"].partition(",")
    assert kind == "data:image/jpeg;base64"
    thumbnail = Image.open(io.BytesIO(base64.b64decode(code)))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (64, 64))
    for checkpoint in (None, 1):  # Civitai's AutoV3 is the beginning of the digest of everything after the header
        content = (first.at_checkpoint(checkpoint).folder / ADAPTER_FILE).read_bytes()
        data = content[8 + int.from_bytes(content[:8], "little") :]
        header = lycoris.read_metadata(first.at_checkpoint(checkpoint).folder / ADAPTER_FILE)
        assert header["sshs_model_hash"] == hashlib.sha256(data).hexdigest()
        assert header["modelspec.hash_sha256"] == f"0x{header['sshs_model_hash']}"
    assert "modelspec.thumbnail" not in header
    assert header["concept"] == "grumble"


def test_checkpoints_count_epochs_if_the_length_is_in_epochs(tmp_path):
    made = trained(tmp_path / "store", (1,), steps=None, epochs=2)
    assert lycoris.read_metadata(made.at_checkpoint(1).folder / ADAPTER_FILE)["step"] == "2"
    assert lycoris.read_metadata(made.final.folder / ADAPTER_FILE)["step"] == "4"
