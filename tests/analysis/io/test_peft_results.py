"""Result files of PEFT's method comparison, made up in its layout."""

from __future__ import annotations

import json

import pytest

from flows.cli.main import main
from lycoris.analysis.io.reading import read_table
from lycoris.errors import InputError


def result(name: str, similarity: float, **changes) -> dict:
    """A result of the image task; peft_config is None for full fine-tuning."""
    config = {"peft_type": name.upper(), "r": 8, "lora_alpha": 16}
    train_config = {
        "model_id": "owner/base", "dataset_id": "owner/cats", "seed": 0, "max_steps": 100,
        "optimizer_kwargs": {"lr": 1e-4},
    }  # fmt: skip
    last = {"step": 100, "test dino_similarity": similarity, "drift": 0.1, "train loss": 0.7}
    return {
        "run_info": {
            "experiment_name": f"{name}/base-default", "train_config": train_config,
            "peft_config": None if name == "full" else config, "error_msg": "",
        },
        "train_info": {
            "status": "success", "train_time": 10.5, "file_size": 1000, "accelerator_memory_max": 7,
            "num_trainable_params": 5, "metrics": [{"step": 50, "valid dino_similarity": 0.1}, last], **changes,
        },
        "meta_info": {"package_info": {}, "system_info": {}},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name, similarity in (("hra", 0.5), ("oft", 0.4), ("full", 0.6)):
        (tmp_path / f"{name}--base.json").write_text(json.dumps(result(name, similarity)))
    (tmp_path / "vera--base.json").write_text(json.dumps(result("vera", 0.3, status="failed")))
    return tmp_path


def test_a_folder_of_results_is_a_table(folder):
    table = read_table(folder)
    assert list(table.rows["algorithm"]) == ["full-finetuning", "peft:hra", "peft:oft"]
    assert list(table.scores["dino_similarity"]) == [0.6, 0.5, 0.4]
    assert table.measures["drift"].higher_is_better is False
    assert table.measures["file_bytes"].dimension == "efficiency"
    assert (table.rows["learning_rate"] == 1e-4).all()
    assert any("vera" in note for note in table.notes)
    assert any("no difference of this table has an interval" in note for note in table.notes)


def test_a_number_that_peft_could_not_measure_is_missing(folder):
    file = folder / "full--base.json"
    file.write_text(file.read_text().replace('"drift": 0.1', '"drift": NaN'))
    table = read_table(folder)
    assert list(table.scores["drift"].isna()) == [True, False, False]


def test_the_command_analyzes_it(folder, capsys):
    assert main(["analyze", str(folder), "--out", str(folder / "out")]) == 0
    assert "one seed" in capsys.readouterr().out
    ranks = (folder / "out" / "ranks.csv").read_text()
    assert "peft:hra" in ranks
    assert "dino_similarity" in ranks


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is no result of PEFT's method comparison"),
        (json.dumps(result("hra", 0.5, metrics=[])), "has none of the scores"),
        (json.dumps(result("hra", 0.5, metrics=[{"test dino_similarity": "high"}])), "must be a number"),
        (json.dumps(result("hra", 0.5, metrics=[3])), "must be an object"),
        (json.dumps(result("hra", 0.5, status="failed")), "no experiment that succeeded"),
    ],
)
def test_other_files_are_errors_that_name_them(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path)
