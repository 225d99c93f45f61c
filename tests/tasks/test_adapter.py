"""A training as a stage: one file for one seed, and its checkpoints as stages of their own."""

import json

import pytest

import lycoris
from lycoris import bases, pocket
from lycoris.cache.integrity import file_digest
from tasks.artifacts import RunContext, RunSpec
from tasks.train import ADAPTER_FILE, SUMMARY_FILE, train_adapter

TRAINING = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3}
SETTINGS = {"algorithm": "lora", "preset": "attn-mlp", "rank": 2, "alpha": 2.0, "factor": None, "training": TRAINING}
WATCH = {
    "validation": {"hold_out": 1, "every": 2, "noise_levels": 2},
    "samples": {
        "every": 4,
        "prompts": ["a ohw bear"],
        "seeds": [1000],
        "drawing": {"scheduler": "ddim", "steps": 1, "guidance": 1.0, "batch_size": 1},
    },
}
PICTURES = sorted((pocket.IMAGES / "movie_characters" / "grumble").glob("*.png"))[:4]


def trained(store, checkpoints=(), watch=None, **settings):
    store.mkdir(exist_ok=True)
    return train_adapter.fn(
        RunContext(store, device="cpu"),
        RunSpec("grumble", "lora", "none", 0, checkpoint_unit="step"),
        base="pocket",
        base_digest=bases.digest("pocket"),
        pictures=PICTURES,
        picture_digest="0",
        captions=["a ohw bear"] * len(PICTURES),
        settings={**SETTINGS, "training": {**TRAINING, **settings}},
        checkpoints=checkpoints,
        watch=watch,
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("one") / "store", (1, 3), WATCH)


def test_the_same_training_elsewhere_gives_the_same_bytes(first, tmp_path):
    again = trained(tmp_path / "other", (1, 3), WATCH)
    for checkpoint in (None, 1, 3):
        one, other = first.at(checkpoint), again.at_checkpoint(checkpoint)
        assert file_digest(one.folder / ADAPTER_FILE) == file_digest(other.folder / ADAPTER_FILE)
        assert str(one.folder.parents[2]) not in json.dumps(lycoris.read_metadata(one.folder / ADAPTER_FILE))
    assert len({file_digest(first.at(checkpoint).folder / ADAPTER_FILE) for checkpoint in (None, 1, 3)}) == 3


def test_each_checkpoint_knows_what_was_known_then(first):
    for checkpoint, step in ((1, 1), (3, 3), (None, 4)):
        made = first.at(checkpoint)
        facts = json.loads((made.folder / SUMMARY_FILE).read_text())
        header = lycoris.read_metadata(made.folder / ADAPTER_FILE)
        assert (header["step"], float(header["epoch"])) == (str(step), pytest.approx(step * 2 / 3, rel=1e-5))
        assert facts["step"] == len(facts["losses"]) == len(facts["bands"]["quarter_1"]) == step
        assert [row["step"] for row in facts["seen"] if "validation" in row] == [s for s in (0, 2, 4) if s <= step]
    assert sorted(folder.name for folder in (first.final.folder / "samples").iterdir()) == ["0", "4"]


def test_a_shorter_list_trains_nothing_and_a_new_checkpoint_is_made(first):
    store = first.final.folder.parents[1]
    fewer = trained(store, (3,), WATCH)
    assert (fewer.final.cached, fewer.at_checkpoint(3).cached) == (True, True)
    more = trained(store, (3, 2), WATCH)
    assert {checkpoint: more.at_checkpoint(checkpoint).cached for checkpoint in (None, 3, 2)} == {
        None: True,
        3: True,
        2: False,
    }
    assert lycoris.read_metadata(more.at_checkpoint(2).folder / ADAPTER_FILE)["step"] == "2"
    assert len({one.key for one in (more.final, more.at_checkpoint(2), more.at_checkpoint(3), first.at(1))}) == 4
    assert not any((store / "unfinished").iterdir())


def test_watching_without_holding_out_changes_no_weight(tmp_path):
    plain = trained(tmp_path / "plain")
    watched = trained(tmp_path / "watched", (2,), {"samples": WATCH["samples"]})
    assert file_digest(plain.final.folder / ADAPTER_FILE) == file_digest(watched.final.folder / ADAPTER_FILE)


def test_counts_are_epochs_where_the_length_is(tmp_path):
    made = trained(tmp_path / "store", (1,), steps=None, epochs=2)
    assert lycoris.read_metadata(made.at_checkpoint(1).folder / ADAPTER_FILE)["step"] == "2"
    assert lycoris.read_metadata(made.final.folder / ADAPTER_FILE)["step"] == "4"
