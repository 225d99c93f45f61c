"""Comparisons in the run report: the image grid, the checkpoint slider, images of points, costs and links to runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver import ActionChains

from lycoris.report import render
from lycoris.report.run.mlflow_links import tracking_links
from tests.report.test_run_page import find, shown, texts

LEFT, RIGHT = "\ue012", "\ue014"
CHECKPOINTS = ("epoch 2", "epoch 10", None)


@pytest.fixture(scope="module")
def trained(study: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every adapter of the trial study after 2 and 10 epochs and at its end, each with its own images."""
    folder = tmp_path_factory.mktemp("stages")

    def at(adapter: dict[str, Any], stage: str | None, place: int) -> dict[str, Any]:
        made = {}
        for kind, entries in adapter["drawings"].items():
            made[kind] = []
            for entry in entries:
                file = folder / f"{adapter['name']}-{kind}-{entry['seed']}-{place}.png"
                picture = Image.new("RGB", (64, 64), (80 * place, len(kind) * 9, entry["seed"] % 256))
                picture.putpixel((len(adapter["name"]), 0), (255, 255, len(adapter["captions"])))
                picture.save(file)
                made[kind].append({**entry, "image": str(file)})
        run = {"run_id": f"{adapter['name']}-{place}", "champion": adapter["champion"] and stage is None}
        return {**adapter, **run, "checkpoint": stage, "drawings": made}

    whole = [one for one in study["adapters"] if not one.get("error")]
    return {**study, "adapters": [at(one, stage, place) for one in whole for place, stage in enumerate(CHECKPOINTS)]}


@pytest.fixture
def opened(browser: Any, trained: dict[str, Any], tmp_path: Path) -> Any:
    browser.get(render(trained, tmp_path / "report.html").as_uri())
    assert browser.get_log("browser") == []
    return browser


def rows(browser: Any) -> list[str]:
    return texts(browser, "#images-body tbody th.model .sub:nth-child(2)")


def test_the_slider_shows_each_checkpoint_with_the_same_prompts_and_seeds(opened: Any) -> None:
    slider = find(opened, "input[type=range]")[0]
    columns = texts(opened, "#images-body .seeds th")
    last = shown(opened)
    assert slider.get_attribute("aria-valuetext") == "end"
    slider.send_keys(LEFT)
    assert slider.get_attribute("aria-valuetext") == "epoch 10"
    middle = shown(opened)
    slider.send_keys(LEFT)
    assert texts(opened, ".slide output") == ["epoch 2"]
    first = shown(opened)
    assert len(first) == len(middle) == len(last) == 15
    assert first[:3] == last[:3]  # the base stays
    assert not set(first[3:]) & set(middle[3:])
    assert not set(middle[3:]) & set(last[3:])
    assert texts(opened, "#images-body .seeds th") == columns
    assert opened.switch_to.active_element == slider


def test_checkpoints_of_a_training_are_shown_in_order(opened: Any) -> None:
    find(opened, "[data-name='Compare checkpoint']")[0].click()
    assert rows(opened) == ["without an adapter", "none · epoch 2", "none · epoch 10", "none"]
    names = texts(opened, "#images-body tbody th.model .name")
    assert names == ["Base", "LoKr", "LoKr", "LoKr★"]  # of the champion, unless something else is chosen
    find(opened, "[data-name='fixed algorithm'] option[value=lora]")[0].click()
    assert texts(opened, "#images-body tbody th.model .name")[1:] == ["LoRA", "LoRA", "LoRA"]
    assert opened.switch_to.active_element.get_attribute("data-name") == "fixed algorithm"


def test_comparing_one_setting_fixes_the_others(opened: Any) -> None:
    find(opened, "[data-name='Compare algorithm']")[0].click()
    assert texts(opened, "#images-body tbody th.model .name") == ["Base", "LoRA", "LoKr★"]
    assert rows(opened)[1:] == ["none", "none"]
    find(opened, "[data-name='Compare captions']")[0].click()
    assert texts(opened, "#images-body tbody th.model .name") == ["Base", "LoKr★", "LoKr"]
    assert rows(opened)[1:] == ["none", "all"]


def test_a_point_shows_its_images_by_keyboard_and_by_mouse(opened: Any, trained: dict[str, Any]) -> None:
    def card() -> tuple[str, str]:
        [title] = texts(opened, "#tradeoff-card h3")
        return title, find(opened, "#tradeoff-card .own img")[0].get_attribute("src")

    points = find(opened, "#tradeoff-plot .point:not(.base)")
    assert len(points) == 12
    assert [point.get_attribute("tabindex") for point in points].count("0") == 1
    opened.execute_script("arguments[0].focus()", points[0])
    seen = [card()]
    for _ in points[1:]:
        opened.switch_to.active_element.send_keys(RIGHT)
        seen.append(card())
    assert len(set(seen)) == 12
    ActionChains(opened).move_to_element(points[0]).perform()
    assert card() in seen
    text = find(opened, "#tradeoff-card")[0].text
    assert "higher is better" in text
    assert "against the base" in text
    assert "[" in text


def test_scores_can_be_plotted_against_costs(opened: Any) -> None:
    find(opened, "[data-name='axis x'] option[value='file size']")[0].click()
    assert "less" not in texts(opened, "#tradeoff-plot .axis")[0]
    assert "lower is better" in texts(opened, "#tradeoff-plot .axis")[0]
    assert len(find(opened, "#tradeoff-plot .point:not(.base)")) == 4  # a checkpoint's cost is not known


def test_costs_are_medians_with_quartiles(browser: Any, study: dict[str, Any], tmp_path: Path) -> None:
    lora = next(one for one in study["adapters"] if one["algorithm"] == "lora" and not one.get("error"))
    many = [{**lora, "seed": seed, "seconds": {"train": float(seed), "draw": 3.0}} for seed in (10, 20, 30, 40, 50)]
    early = {**lora, "checkpoint": "epoch 1", "seconds": {"train": 999.0, "draw": 3.0}}
    browser.get(render({**study, "adapters": [*many, early]}, tmp_path).as_uri())
    assert browser.get_log("browser") == []
    assert texts(browser, "#cost-body tbody td .sub")[:2] == ["30.0 s [20.0 s, 40.0 s]", ".50 s"]
    assert texts(browser, "#cost-body tbody td:nth-child(2)") == ["5"]


def test_runs_are_links_where_mlflow_has_an_address(browser: Any, trained: dict[str, Any], tmp_path: Path) -> None:
    tracking = {"address": "http://user:secret@tracker:5000", "experiment": "7", "run": "parent"}
    page = render({**trained, "tracking": tracking}, tmp_path)
    assert "secret" not in page.read_text()
    browser.get(page.as_uri())
    wanted = "http://tracker:5000/#/experiments/7/runs/hornling-lokr-none-2"
    for part in ("#tradeoff-card", "#differences-body", "#table-body", "#adapters-body", "#run .champions"):
        links = [one.get_attribute("href") for one in find(browser, f"{part} a")]
        assert wanted in links, part
    assert len(find(browser, f"#scores-body a[href^='{wanted.rpartition('/')[0]}']")) == 3


def test_without_a_server_runs_are_shown_with_the_command_that_opens_them(
    browser: Any, trained: dict[str, Any], tmp_path: Path
) -> None:
    tracking = {"address": "sqlite:////runs here/mlflow.db", "experiment": "7", "run": "parent"}
    browser.get(render({**trained, "tracking": tracking}, tmp_path).as_uri())
    command = "mlflow ui --backend-store-uri 'sqlite:////runs here/mlflow.db'"
    assert command in find(browser, "#run")[0].text
    [code] = find(browser, "#tradeoff-card code.run")
    assert code.get_attribute("title").startswith("MLflow run hornling-lokr-none-2")
    assert command in code.get_attribute("title")
    assert not find(browser, "#tradeoff-card a")


@pytest.mark.parametrize("address", ["javascript:alert(1)//http://x", "databricks", "postgresql://u:p@h/db"])
def test_other_addresses_are_not_linked(address: str) -> None:
    assert tracking_links({"tracking": {"address": address, "experiment": "1", "run": "r"}}) == {"run": "r"}


def test_a_study_without_an_address_has_no_links() -> None:
    assert tracking_links({"tracking": {"address": "", "experiment": "1", "run": "r"}}) is None
    assert tracking_links({}) is None
