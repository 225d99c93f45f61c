"""Studies by name: their definition, their plan, and the answer from finished runs."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from flows.cli.main import main
from flows.config.experiment import Experiment
from flows.studies.answer import write_study_answer
from flows.studies.budget_matching import BudgetMatch
from flows.studies.definition import load_study
from flows.studies.names import study_names, study_question
from lycoris.errors import InputError
from tasks.trainings import times_label
from tests.analysis.conftest import PAPER


@pytest.mark.parametrize("name", study_names())
def test_every_study_asks_a_question_and_varies_its_factors(name: str) -> None:
    for changes in ((), ("base=pocket",)):
        study = load_study(name, changes)
        assert study.question.endswith("?")
        assert study.question == study_question(name)  # what help prints
        assert study.experiment.name != "pocket"  # that is `lycoris run`'s
        rows = [
            {**study.experiment.adapter_settings(adapter).as_dict(),
             **study.experiment.adapter_settings(adapter).training, "captions": captions,
             "times": times_label(study.experiment.adapter_settings(adapter).training)}
            for adapter in study.experiment.algorithms
            for captions in study.experiment.captions_of(adapter)
        ]  # fmt: skip
        for factor in study.factors:
            if factor == "epoch":
                assert study.experiment.checkpoints
                continue
            parts = {"capacity": ("rank", "alpha", "factor"), "dim": ("rank",)}.get(factor, (factor,))
            assert len({tuple(row.get(part) for part in parts) for row in rows}) > 1, factor


def test_the_grid_of_the_paper_is_the_published_one() -> None:
    """The grid is every row of the published table of configurations, once, and nothing else."""
    table = PAPER / "config_mapping.csv"
    if not table.is_file():
        pytest.skip("the published table is not beside this repository")
    with table.open() as stream:
        published = Counter(_published(row) for row in csv.DictReader(stream))
    experiment = load_study("paper").experiment
    ours = Counter(
        (
            settings.algorithm, settings.preset, settings.training["learning_rate"], settings.rank,
            settings.alpha, settings.factor, captions,
        )
        for adapter in experiment.algorithms
        for settings in [experiment.adapter_settings(adapter)]
        for captions in experiment.captions_of(adapter)
    )  # fmt: skip
    assert ours == published
    assert sum(ours.values()) == 40
    assert (experiment.seeds, experiment.checkpoints) == ((0, 1, 2), (10, 30))
    training = {name: value for name, value in settings_of(experiment).items() if name != "learning_rate"}
    assert training == {
        "epochs": 50, "batch_size": 8, "optimizer": "adamw-8bit", "warmup_steps": 100, "schedule": "constant",
        "caption_dropout": 0.05,
    }  # fmt: skip


def settings_of(experiment: Experiment) -> Mapping[str, Any]:
    return experiment.adapter_settings(experiment.algorithms[0]).training


def _published(row: dict[str, str]) -> tuple[Any, ...]:
    def number(text: str) -> float | None:
        return None if text == "N/A" else float(text)

    whole = row["Algo"] == "lokr"  # a dim of 10000 leaves the second factor whole, and alpha has no effect
    captions = {".txt": "adjusted", ".txtdb": "none", ".txttags": "all"}[row["Caption"]]
    dim, alpha = (None, None) if whole else (number(row["Dim"]), number(row["Alpha"]))
    return row["Algo"], row["Preset"], float(row["Lr"]), dim, alpha, number(row["Factor"]), captions


def test_a_plan_counts_without_starting_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The base does not exist, so no benchmark runs."""
    options = [
        "--set",
        f"base={tmp_path}",
        "--set",
        "concepts=grumble,biscuit",
        "--set",
        "algorithms=lora",
        "--set",
        "seeds=0,1",
    ]
    assert main(["study", "captions", "--plan", "--set", f"output={tmp_path / 'runs'}", *options]) == 0
    output = capsys.readouterr().out
    assert "16 adapters: 2 concepts x 1 adapter setting x 4 caption strategies x 2 seeds" in output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [({"factor": "caption"}, "Did you mean `captions`"), ({"factor": "captions", "questoin": "?"}, "`question`"),
     ([], "must hold"), ({"factor": "captions", "experiment": 3}, "`experiment`"),
     ({"factor": "captions", "experiment": {"captoins": ["none"]}}, "Did you mean `captions`"),
     ({"factors": ["captions", "algoritm"]}, "Did you mean `algorithm`"), ({"factors": []}, "factor"),
     ({"factor": "captions", "reports": "finding"}, "Did you mean `findings`"),
     ({"factor": "captions", "match_budget": "times"}, "Did you mean `time`"),
     ({"factor": "captions", "on_pocket": 3}, "`on_pocket`")],
)  # fmt: skip
def test_an_invalid_study_file_is_an_error_that_names_the_fault(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=message):
        load_study(str(tmp_path / "s.yaml"))
    with pytest.raises(InputError, match="Did you mean `captions`"):
        load_study("caption")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The result folder of a finished study: two concepts of two categories, two seeds."""
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    shown = {"image": str(tmp_path / "a.png")}
    images = {
        kind: [{**shown, "prompt": f"a sks in {kind} {number}", "seed": number} for number in range(4)]
        for kind in ("trigger", "alter", "style")
    }
    cells = [
        {"concept": concept, "algorithm": "lora", "captions": strategy, "seed": seed}
        for concept in ("grumble", "castle") for strategy in ("none", "all") for seed in (0, 1)
    ]  # fmt: skip
    study = {
        "title": "Study small",
        "concepts": [{"name": "grumble", "category": "toys"}, {"name": "castle", "category": "scenes"}],
        "bases": [{"concept": "grumble", "captions": "none", "drawings": images}],
        "adapters": [{**cell, "drawings": images} for cell in cells],
    }
    (tmp_path / "study.json").write_text(json.dumps(study))
    lines = ["category,concept,algorithm,captions,seed,name,value"]
    for cell in cells:
        category = "toys" if cell["concept"] == "grumble" else "scenes"
        value = 0.9 if cell["captions"] == "none" else 0.1
        lines.append(
            f"{category},{','.join(map(str, cell.values()))},image_similarity/alter/clip,{value + cell['seed'] / 9}"
        )
    (tmp_path / "scores.csv").write_text("\n".join(lines))
    return tmp_path


def test_an_answer_has_effects_by_category_and_images(finished: Path) -> None:
    result = write_study_answer(load_study("captions"), finished)
    fidelity = [row for row in result["effects"] if (row["metric"], row["prompt_type"]) == ("fidelity", "all")]
    assert {row["category"] for row in fidelity} == {"toys", "scenes", "all"}
    assert all((row["effect"] > 0) == (row["level"] == "none") for row in fidelity)
    page = Path(result["answer"]).read_text()
    for part in ("toys", "scenes", "grumble", "lora", "a sks in alter 0", "data:image/webp", "base"):
        assert part in page
    assert "https://" not in page
    assert (finished / "effects_by_category.csv").is_file()
    assert Path(result["analysis"]).is_file()
    json.dumps(result, allow_nan=False)


def test_each_factor_is_answered_and_one_without_comparisons_is_named(finished: Path) -> None:
    study = load_study("captions").model_copy(
        update={"factors": ("algorithm", "captions"), "reports": ("findings", "encoders", "costs")}
    )
    result = write_study_answer(study, finished)
    assert {row["factor"] for row in result["effects"]} == {"captions"}
    assert "`algorithm` alone" in result["sentences"][0]
    assert "Finding 3" in result["told"]["findings"][2]
    assert [one["verdict"] for one in json.loads((finished / "findings.json").read_text())["findings"]] == [
        "not shown"
    ] * 4
    with pytest.raises(InputError, match="`preset` alone"):
        write_study_answer(study.model_copy(update={"factors": ("preset",)}), finished)


def test_a_finished_study_is_answered_again_without_a_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = json.loads((finished / "study.json").read_text())
    lost = {"concept": "castle", "algorithm": "lokr", "captions": "none", "seed": 0, "error": "The training diverged."}
    (finished / "study.json").write_text(json.dumps({**ran, "adapters": [*ran["adapters"], lost]}))
    assert main(["study", "captions", "--from", str(finished), "--json"]) == 1
    output = capsys.readouterr().out
    assert "toys: `none` instead of `all`: fidelity +" in output
    assert "1 of 9 adapters failed:\n  castle · lokr · none · seed 0: The training diverged." in output
    assert len(json.loads(output.splitlines()[-1])["adapters"]) == 9
    assert main(["study", "captions", "--from", str(finished / "nowhere")]) == 2


def test_options_of_a_study_can_be_set_and_on_pocket_applies_to_the_pocket_base_only(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    content = {"factor": "captions", "experiment": {"base": "owner/model", "steps": 9}, "on_pocket": {"steps": 5}}
    file.write_text(yaml.safe_dump(content))
    assert load_study(str(file)).experiment.steps == 9
    assert load_study(str(file), ("base=pocket",)).experiment.steps == 5
    assert load_study(str(file), ("base=pocket", "steps=7")).experiment.steps == 7
    assert load_study(str(file), ("match_budget=time",)).match_budget == BudgetMatch(kind="time")
    assert load_study(str(file), ("match_budget={parameters: lora}",)).match_budget == BudgetMatch(
        kind="parameters", reference="lora"
    )


def test_the_answer_page_fits_a_phone(finished: Path, browser: Any) -> None:
    browser.get(Path(write_study_answer(load_study("captions"), finished)["answer"]).as_uri())
    assert browser.get_log("browser") == []
    assert len(browser.find_elements("css selector", "#glance-body img")) == 5  # castle has no images of the base
    browser.set_window_size(500, 900)
    wide = browser.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    browser.set_window_size(1400, 1000)
    assert wide
