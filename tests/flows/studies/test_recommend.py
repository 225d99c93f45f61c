"""`lycoris recommend`: the setting chosen from a study, by sizes and weights, and invalid input."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from flows.cli.main import main
from flows.cli.recommend import parse_size, parse_weights
from flows.studies.recommend import adapter_sizes, recommend_study, share_beating_base
from lycoris.analysis.io.csv_files import read_csv
from lycoris.errors import InputError

TABLES = Path(__file__).parents[2] / "analysis" / "tables"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The folder of a finished study: LoRA is faithful, full tuning is more diverse and has a large file."""
    rows, adapters = [], []
    for concept in ("grumble", "castle", "neon"):
        for config, algorithm, truth, variety in (("lora rank=4", "lora", 0.9, 2.0), ("full", "full", 0.7, 3.0)):
            columns = {"concept": concept, "category": "toys", "config": config, "algorithm": algorithm,
                    "captions": "none", "seed": 0, "steps": 120, "learning_rate": 0.005}  # fmt: skip
            rows.append({**columns, "name": "image_similarity/trigger/clip", "value": truth, "difference_low": 0.1})
            rows.append({**columns, "name": "vendi/trigger/clip", "value": variety, "difference_low": -0.1})
            adapters.append({"algorithm": config, "captions": "none", "bytes": 10**7 if algorithm == "full" else 10**5,
                             "concept": concept, "file": f"adapters/{concept}-{algorithm}.safetensors"})  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
    (tmp_path / "study.json").write_text(
        json.dumps({"adapters": [*adapters, {"error": "broken"}], "concepts": [{"name": "neon", "trigger": "ohw"}]})
    )
    return tmp_path


def test_the_command_prints_the_choice_the_files_the_rule_and_the_plot(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", str(study), "--weights", "fidelity=2", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    result = json.loads(last)
    count = len(result["lines"])
    assert [lines[0], *lines[2 : count + 1]] == result["lines"]
    assert lines[1].startswith("Why: ")
    assert lines[1].endswith("choose one adapter for each concept alone, which take the same here.")
    assert lines[count + 1 : count + 4] == [
        "adapter   grumble: adapters/grumble-lora.safetensors",
        "adapter   castle: adapters/castle-lora.safetensors",
        "adapter   neon: adapters/neon-lora.safetensors   trigger: ohw",
    ]
    (plot,) = lines[count + 4 :]
    assert plot == f"plot      {result['picture']}"
    assert result["picture"] == str((study / "recommendation.svg").resolve())
    assert result["choice"]["config"] == "lora rank=4 · none"
    assert result["missing"] == ["controllability", "preservation", "quality"]
    assert (study / "recommendation.svg").read_text().startswith("<svg")


def test_the_command_says_where_the_report_takes_another_adapter(study: Path, capsys) -> None:
    record = json.loads((study / "study.json").read_text())
    for adapter in record["adapters"][:4]:
        adapter["champion"] = adapter["algorithm"] == ("full" if adapter["concept"] == "castle" else "lora rank=4")
        adapter["name"] = adapter["file"]
    (study / "study.json").write_text(json.dumps(record))
    assert main(["recommend", str(study), "--weights", "fidelity=2"]) == 0
    (rule,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Why: "))
    assert rule.endswith("choose one adapter for each concept alone, and take Full with captions `none` for castle.")


def test_a_maximum_size_excludes_larger_settings(study: Path) -> None:
    assert recommend_study(study, weights={"diversity": 2})["choice"]["config"] == "full · none"
    result = recommend_study(study, weights={"diversity": 2}, max_size=parse_size("1MB"))
    assert result["choice"]["config"] == "lora rank=4 · none"
    assert result["choice"]["bytes"] == 100_000


def test_sizes_and_win_rates_are_by_setting(study: Path) -> None:
    assert adapter_sizes(study / "study.json") == {"lora rank=4 · none": 100_000, "full · none": 10_000_000}
    assert adapter_sizes(study / "none.json") == {}
    text = read_csv(study / "scores.csv")
    worse = (text["config"] == "full") & (text["concept"] != "neon")
    text.loc[worse, "difference_low"] = "-0.2"
    assert share_beating_base(text, study) == {"lora rank=4 · none": 1.0, "full · none": pytest.approx(1 / 3)}


def test_a_published_table_is_read_with_its_configurations(tmp_path: Path) -> None:
    for name in ("metrics.csv", "configs.csv"):
        (tmp_path / name).write_text((TABLES / name).read_text())
    result = recommend_study(tmp_path / "metrics.csv", tmp_path / "configs.csv")
    assert result["choice"]["config"]
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "count"), [("5MB", 5_000_000), ("800 kB", 800_000), ("1.5MiB", 1_572_864), ("12", 12), ("7b", 7)]
)
def test_sizes_are_parsed(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "five", "5 parsec", "-3MB", "5MB5"])
def test_an_invalid_size_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="--max-size"):
        parse_size(text)


def test_weights_are_parsed_and_invalid_ones_are_errors() -> None:
    assert parse_weights(" fidelity=2, diversity = 0 ") == {"fidelity": 2.0, "diversity": 0.0}
    assert parse_weights("") == {}
    for text, message in (("fidelity", "such as"), ("fidelity=x", "such as"), ("quality=1,quality=2", "twice")):
        with pytest.raises(InputError, match=message):
            parse_weights(text)


def test_invalid_input_is_an_error_that_names_the_fault(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        ([str(study), "--weights", "fidelty=2"], "Did you mean `fidelity`"),
        ([str(study / "nowhere")], "must be the folder of a study"),
        ([str(study), "--max-size", "1kB"], "smallest file has 100000 bytes"),
    ):
        assert main(["recommend", *options]) == 2
        assert message in capsys.readouterr().err
    (study / "study.json").write_text("[]")
    assert main(["recommend", str(study)]) == 2
    assert "cannot be read as a study" in capsys.readouterr().err
