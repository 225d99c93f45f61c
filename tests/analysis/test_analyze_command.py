"""Claims about the command: what it prints, what it writes, and its page in a real browser."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import textwrap

import pytest

from flows.cli.main import main
from tests.analysis.conftest import TABLES

ARGUMENTS = ["analyze", str(TABLES / "metrics.csv"), "--configs", str(TABLES / "configs.csv"), "--out"]
FILES = {"effects.csv", "ranks.csv", "scaled_ranks.csv", "correlations.csv", "shap.csv", "analysis.html"}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysis")
    assert main([*ARGUMENTS, str(folder)]) == 0
    return folder


def test_the_last_line_is_one_json_object(tmp_path, capsys):
    assert main([*ARGUMENTS, str(tmp_path / "new" / "out"), "--json"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    output = json.loads(lines[-1])
    assert set(output) == {"effects", "ranks", "shap"}
    wanted = {"factor", "level", "against", "metric", "prompt_type", "encoder", "effect", "low", "high"}
    assert all(wanted <= set(row) for row in output["effects"])
    [row] = [
        row for row in output["effects"]
        if (row["factor"], row["level"], row["against"]) == ("captions", "none", "all")
        and (row["metric"], row["prompt_type"], row["encoder"]) == ("text_similarity", "alter", "")
    ]  # fmt: skip
    assert row["low"] <= row["effect"] <= row["high"] < 0
    assert {row["factor"] for row in output["effects"]} == {"algorithm", "captions", "capacity", "epoch"}
    assert {row["level"] for row in output["effects"] if row["factor"] == "epoch"} == {10, 50}
    assert any(line.startswith("`none` instead of `all`: fidelity +") for line in lines[:-1])


def test_the_files_hold_the_results(out):
    assert {path.name for path in out.iterdir()} == FILES
    with (out / "effects.csv").open() as file:
        effects = list(csv.DictReader(file))
    with (out / "ranks.csv").open() as file:
        ranks = list(csv.DictReader(file))
    assert {"p", "q", "pairs", "groups"} <= set(effects[0])
    assert all(0 <= float(row["rank"]) <= 1 for row in ranks)
    assert len(ranks) == 6 * 2 * (5 + 4)  # configurations, epochs, measures and means


def test_an_error_is_one_sentence_and_exit_code_2(tmp_path, capsys):
    assert main(["analyze", str(TABLES / "metrics.csv"), "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("lycoris: ")
    assert "--configs" in message
    (tmp_path / "file").write_text("")
    assert main([*ARGUMENTS, str(tmp_path / "file")]) == 2
    assert "`--out` must be a folder" in capsys.readouterr().err


def test_without_catboost_the_command_reports_it_and_does_the_rest(tmp_path):
    script = textwrap.dedent(
        """
        import sys

        sys.modules["catboost"] = None  # Python's own way to say that there is no such package
        from flows.cli.main import main

        sys.exit(main(sys.argv[1:]))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *ARGUMENTS, str(tmp_path)], capture_output=True, text=True, check=False,
        cwd=TABLES.parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "catboost is not installed" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_the_page_loads_nothing(out):
    page = (out / "analysis.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    assert "prefers-color-scheme: dark" in page


@pytest.fixture
def page(browser, out):
    browser.get((out / "analysis.html").as_uri())
    return browser


def find(page, css):
    return page.find_elements("css selector", css)


def test_every_section_is_drawn_without_errors(page):
    assert page.get_log("browser") == []
    for part in (
        "choices-body",
        "by-concept-body",
        "rank-tradeoffs-plot",
        "ranks-body",
        "agreement",
        "heat",
        "effects-body",
    ):
        assert find(page, f"#{part} table, #{part} svg"), part


def test_a_factor_is_chosen_with_the_keyboard(page):
    button = find(page, "[data-name='Factor captions']")[0]
    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys("\n")
    rows = [row.text for row in find(page, "#choices-body tbody th")]
    assert any(row.startswith("none instead of all") for row in rows)
    assert page.switch_to.active_element.get_attribute("data-name") == "Factor captions"
    tabbed = page.execute_script("return [...document.querySelectorAll('.scroll')].every((one) => one.tabIndex === 0)")
    assert tabbed


def test_a_single_metric_has_its_prompt_types_as_columns(page):
    page.execute_script(
        "const pick = document.querySelector(\"[data-name='choice columns']\"); pick.value = 'image_similarity';"
        "pick.dispatchEvent(new Event('change'))"
    )
    assert "alter" in find(page, "#choices-body thead")[0].text.lower()


def test_trade_offs_have_one_point_per_configuration(page):
    points = find(page, "#rank-tradeoffs-plot .point")
    assert len(points) == 6
    titles = set()
    page.execute_script("arguments[0].focus()", points[0])
    for _ in points:
        card = find(page, "#rank-tradeoffs-card")[0]
        titles.add(card.text)
        assert not card.find_elements("css selector", "img")
        page.switch_to.active_element.send_keys("\ue014")
    assert len(titles) == 6


def test_every_pair_of_measures_is_listed_with_its_interval(page):
    page.execute_script("document.getElementById('pairs').open = true")
    page.execute_async_script("setTimeout(arguments[0], 50)")
    cells = [row.text for row in find(page, "#pair-table tbody tr")]
    assert len(cells) == 5 * 4 / 2
    assert all("[" in text for text in cells)


def test_effects_are_filtered_and_counted(page):
    page.execute_script(
        "const pick = document.querySelector(\"[data-name='effects factor']\"); pick.value = 'epoch';"
        "pick.dispatchEvent(new Event('change'))"
    )
    rows = find(page, "#effects-body tbody tr")
    assert rows
    assert all(row.text.startswith("epoch") for row in rows)
    assert find(page, "#effects-tools .count")[0].text.startswith(str(len(rows)))


def test_a_phone_needs_no_sideways_scrolling(page):
    page.set_window_size(500, 900)
    wide = page.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.set_window_size(1400, 1000)
    assert wide


def test_shap_values_are_shown_where_a_model_explains(page):
    pytest.importorskip("catboost")
    assert find(page, "#swarm circle")
    assert find(page, "#model-table tbody tr")
