"""Adapters of a study that are trained at once: in groups of one kind, and to what each learns alone."""

import json

import pytest
import torch
from safetensors.torch import load_file

from flows.steps.batching import co_training_groups
from lycoris import bases, pocket
from tasks.artifacts import RunContext, RunSpec
from tasks.train import ADAPTER_FILE, SUMMARY_FILE, co_train_adapters, train_adapter

TRAINING = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3}
SETTINGS = {"algorithm": "lora", "preset": "attn-mlp", "rank": 2, "alpha": 2.0, "factor": None, "training": TRAINING}
PICTURES = sorted((pocket.IMAGES / "movie_characters" / "grumble").glob("*.png"))[:4]


def asked(seed, **training):
    return {
        "cell": RunSpec("grumble", "lora", "none", seed, checkpoint_unit="step"),
        "base": "pocket",
        "base_digest": bases.digest("pocket"),
        "pictures": PICTURES,
        "picture_digest": "0",
        "captions": ["a ohw bear"] * len(PICTURES),
        "settings": {**SETTINGS, "training": {**TRAINING, **training}},
        "checkpoints": [2],
    }


def weights(file):
    return torch.cat([value.flatten() for _, value in sorted(load_file(file).items())])


def place(folder):
    folder.mkdir()
    return RunContext(folder, device="cpu")


@pytest.mark.parametrize(
    ("kinds", "at_once", "workers", "expected"),
    [
        ("aaaaaa", 4, 2, ["aaa", "aaa"]),
        ("aaabbb", 4, 2, ["aaa", "bbb"]),
        ("aabb", 4, 2, ["aa", "bb"]),
        ("aab", 4, 2, ["a", "a", "b"]),
        ("aaaa", 1, 2, ["a"] * 4),
        ("aaaaa", 4, 1, ["aa", "aaa"]),
        ("", 4, 2, []),
    ],
)
def test_trainings_of_one_kind_go_together_and_leave_no_process_idle(kinds, at_once, workers, expected):
    items = [(kind, (kind, number)) for number, kind in enumerate(kinds)]
    found = co_training_groups(items, at_once, workers)
    assert sorted(len(group) for group in found) == sorted(map(len, expected))
    assert sorted(item for group in found for item in group) == [item for _, item in items]
    assert all(len({kind for kind, _ in group}) == 1 for group in found)


def test_adapters_trained_at_once_are_those_trained_alone(tmp_path):
    alone, together = place(tmp_path / "alone"), place(tmp_path / "together")
    wanted = [asked(0), asked(1)]
    expected = [train_adapter.fn(alone, **each) for each in wanted]
    co_train_adapters.fn(together, "lora", wanted)
    (unfinished,) = {path.parent for path in together.store.glob("unfinished/*/") if path.is_dir()}
    assert len(list(unfinished.iterdir())) == 2
    found = [train_adapter.fn(together, **each) for each in wanted]
    assert not list(unfinished.iterdir())
    for one, other in zip(expected, found, strict=True):
        assert one.final.key == other.final.key
        for checkpoint in (None, 2):
            values, others = (weights(each.at_checkpoint(checkpoint).folder / ADAPTER_FILE) for each in (one, other))
            assert (values - others).norm() < 1e-3 * values.norm()
        losses, others = (json.loads((each.final.folder / SUMMARY_FILE).read_text())["losses"] for each in (one, other))
        assert losses == pytest.approx(others, rel=1e-4)


def test_one_that_diverges_is_left_to_say_so_alone(tmp_path):
    here = place(tmp_path / "store")
    wild, calm = asked(0, learning_rate=1e30, clip_norm=None), asked(1)
    co_train_adapters.fn(here, "lora", [wild, calm])
    assert train_adapter.fn(here, **calm).final.folder.is_dir()
    with pytest.raises(Exception, match="Lower `learning_rate`"):
        train_adapter.fn(here, **wild)


def test_what_is_there_is_not_trained_again(tmp_path, monkeypatch):
    here = place(tmp_path / "store")
    wanted = [asked(0), asked(1)]
    co_train_adapters.fn(here, "lora", wanted)
    for each in wanted:
        train_adapter.fn(here, **each)
    monkeypatch.setattr("tasks.train.run_trainings", lambda *_: pytest.fail("trained again"))
    co_train_adapters.fn(here, "lora", wanted)
    assert all(train_adapter.fn(here, **each).final.cached for each in wanted)
