"""Studies by name: what is asked, what it would take, and the answer from runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from flows.cli import main
from flows.study import answer, names, plan, read_study
from lycoris.errors import InputError


@pytest.mark.parametrize("name", names())
def test_every_study_is_whole_and_asks_a_question(name: str) -> None:
    study = read_study(name)
    assert study.question.endswith("?")
    assert len(plan(study, 13)) == 3
    assert len(getattr(study.experiment, {"captions": "captions"}.get(study.factor, "algorithms"))) > 1


def test_a_plan_counts_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--set", "concepts=grumble,biscuit", "--set", "algorithms=lora", "--set", "seeds=0,1"]
    assert main(["study", "captions", "--plan", "--set", f"output={tmp_path / 'runs'}", *options]) == 0
    said = capsys.readouterr().out
    assert "16 adapters: 2 concepts x 1 algorithms x 4 captions x 2 seeds" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [({"factor": "caption"}, "Did you mean `captions`"), ({"factor": "captions", "questoin": "?"}, "`question`"),
     ([], "must hold"), ({"factor": "captions", "experiment": 3}, "`experiment`"),
     ({"factor": "captions", "experiment": {"captoins": ["none"]}}, "Did you mean `captions`")],
)  # fmt: skip
def test_what_is_wrong_with_a_study_is_told(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=message):
        read_study(str(tmp_path / "s.yaml"))
    with pytest.raises(InputError, match="Did you mean `captions`"):
        read_study("caption")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A study's folder as runs leave it: two concepts of two categories, two seeds."""
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    shown = {"image": str(tmp_path / "a.png")}
    drawings = {
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
        "bases": [{"concept": "grumble", "captions": "none", "drawings": drawings}],
        "adapters": [{**cell, "drawings": drawings} for cell in cells],
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


def test_an_answer_has_effects_by_category_and_pictures_beside_them(finished: Path) -> None:
    found = answer(read_study("captions"), finished)
    fidelity = [row for row in found["effects"] if (row["metric"], row["prompt_type"]) == ("fidelity", "all")]
    assert {row["category"] for row in fidelity} == {"toys", "scenes", "all"}
    assert all((row["effect"] > 0) == (row["level"] == "none") for row in fidelity)
    page = Path(found["answer"]).read_text()
    for part in ("toys", "scenes", "grumble", "lora", "a sks in alter 0", "data:image/webp", "base"):
        assert part in page
    assert "https://" not in page
    assert (finished / "effects_by_category.csv").is_file()
    assert Path(found["analysis"]).is_file()
    json.dumps(found, allow_nan=False)


def test_the_answer_s_page_is_read_on_a_phone_too(finished: Path, browser: Any) -> None:
    browser.get(Path(answer(read_study("captions"), finished)["answer"]).as_uri())
    assert browser.get_log("browser") == []
    assert len(browser.find_elements("css selector", "#glance-wall img")) == 5  # castle has no pictures of the base
    browser.set_window_size(500, 900)
    wide = browser.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    browser.set_window_size(1400, 1000)
    assert wide
