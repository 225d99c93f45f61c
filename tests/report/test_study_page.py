"""The page of a study in a real browser: the answer first, then everything behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.statistics.category_effects import effects_by_category
from lycoris.analysis.table_analysis import Analysis, analyze
from lycoris.report.study.page import render
from tests.report.finished_study import CONCEPTS, write_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study") / "small")


@pytest.fixture(scope="module")
def analysis(folder: Path) -> Analysis:
    return analyze(read_table(folder / "scores.csv"))


@pytest.fixture(scope="module")
def study(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "study.json").read_text())


@pytest.fixture(scope="module")
def page(folder: Path, analysis: Analysis, study: dict[str, Any]) -> Path:
    effects = effects_by_category(analysis.ranking, "captions")
    return render(effects, study, folder / "answer.html", factor="captions", question="What?", analysis=analysis)


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    return browser


def find(browser: Any, css: str) -> list[Any]:
    return browser.find_elements("css selector", css)


def texts(browser: Any, css: str) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((node) => node.textContent.trim())", css
    )


def test_the_answer_comes_first_and_names_what_is_better_and_worse(opened: Any) -> None:
    assert find(opened, "main section")[0].get_attribute("id") == "answer"
    assert find(opened, "h1")[0].text == "What?"
    message = texts(opened, ".summary li")
    assert [one.partition(":")[0] for one in message] == ["characters", "scenes"]  # two categories are too few for all
    for one in message:
        up, down = one.partition("worse in")[::2]
        better, worse = (up, down) if "none instead of all" in one else (down, up)
        assert "fidelity" in better
        assert "controllability" in worse
        assert "no difference shown in diversity" in one


def test_every_effect_has_its_interval_direction_and_count(opened: Any) -> None:
    row, other = find(opened, "#answer table.answer")[1].find_elements("css selector", "tbody tr:not(.category)")
    assert "instead of" in other.text
    assert "instead of" in row.text
    assert row.text.count("[") == 4
    assert "pairs" in find(opened, "#answer thead")[0].text.lower()
    assert "16, 2 concepts" in row.text
    assert "right of the line is better" in find(opened, "#answer thead")[0].text


def test_the_best_adapters_are_listed_with_reason_and_run(opened: Any) -> None:
    text = find(opened, "#answer")[0].text
    assert "LoKr with captions none for 4 of 4 concepts" in text
    find(opened, ".why-each summary")[0].click()
    why = find(opened, ".why-each")[0].text
    assert "it is ahead" in why
    titles = [one.get_attribute("title") for one in find(opened, ".why-each code.run")]
    assert titles[0].startswith("MLflow run grumble-lokr-none-0-1; open it with: mlflow ui")


def test_at_a_glance_each_row_has_one_prompt_and_seed_at_every_level(opened: Any) -> None:
    rows = opened.execute_script(
        "return [...document.querySelectorAll('.glance tbody tr:not(.category)')].map((row) =>"
        " [row.cells[0].textContent, ...[...row.querySelectorAll('.cell')].map((cell) => cell.title)])"
    )
    assert [row[0] for row in rows] == list(CONCEPTS)
    for name, base, *levels in rows:
        assert [title.split("\n")[1:] for title in (base, *levels)] == [[f"a {name} on a beach", "seed 3"]] * 3
    sources = [one.get_attribute("src") for one in find(opened, ".glance tbody:first-of-type tr:nth-child(2) img")]
    assert len(sources) == 4  # reference, base, none, all
    assert len(set(sources)) == 3  # the reference is the base's picture here
    find(opened, "[data-name='Columns algorithm']")[0].click()
    assert texts(opened, ".glance thead th") == ["Concept", "Reference", "Base", "LoRA", "LoKr"]
    find(opened, ".glance .cell")[1].click()
    assert find(opened, "dialog[open]")


def test_the_image_grid_begins_with_what_the_study_compares(opened: Any) -> None:
    pressed = find(opened, "[data-name='Compare captions']")[0].get_attribute("aria-pressed")
    assert pressed == "true"
    assert texts(opened, "#images-body tbody th.model .name") == ["LoKr★", "LoKr"]
    assert find(opened, "input[type=range]")


def test_the_point_of_a_configuration_shows_images_and_runs(opened: Any) -> None:
    points = find(opened, "#rank-tradeoffs-plot .point")
    assert len(points) == 4  # after the last epoch
    opened.execute_script("arguments[0].focus()", points[0])
    card = find(opened, "#rank-tradeoffs-card")[0]
    assert len(card.find_elements("css selector", "img")) == 2
    assert len(card.find_elements("css selector", "code.run")) == 8
    assert "higher is better" in card.text


def test_everything_else_is_on_the_same_page(opened: Any) -> None:
    for part in ("choices-body", "by-concept-body", "ranks-body", "agreement", "heat", "effects-body",
                 "differences-body", "table-body", "tradeoff-plot", "cost-body", "adapters-body"):  # fmt: skip
        assert find(opened, f"#{part} table, #{part} svg"), part
    pytest.importorskip("catboost")
    assert find(opened, "#swarm circle")


def test_ids_are_unique(opened: Any) -> None:
    ids = opened.execute_script("return [...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))


def test_a_phone_needs_no_sideways_scrolling(opened: Any) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    wide = opened.execute_script("return document.documentElement.scrollWidth")
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 390


def test_several_factors_have_an_answer_each(
    browser: Any, analysis: Analysis, study: dict[str, Any], tmp_path: Path
) -> None:
    pairs = [(name, effects_by_category(analysis.ranking, name)) for name in ("captions", "algorithm", "epoch")]
    browser.get(render(pairs, study, tmp_path / "page.html", question="What?", analysis=analysis).as_uri())
    assert browser.get_log("browser") == []
    assert texts(browser, "#answer h3.factor") == ["captions", "algorithm", "epoch"]
    assert len(texts(browser, ".summary li")) == 6
    assert len(find(browser, "#answer table.answer")) == 6


def test_without_an_analysis_the_page_has_answer_and_pictures(
    browser: Any, analysis: Analysis, study: dict[str, Any], tmp_path: Path
) -> None:
    effects = effects_by_category(analysis.ranking, "captions")
    page = render(effects, study, tmp_path / "page.html", factor="captions", question="What?")
    browser.get(page.as_uri())
    assert browser.get_log("browser") == []
    assert find(browser, "#glance-body img")
    assert not find(browser, "#choices")
    assert "http" not in page.read_text().replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
