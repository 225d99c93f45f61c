"""The run report in a real browser, without a window or a network."""

from __future__ import annotations

import pytest

from lycoris.report import render
from lycoris.report.run.sections import SECTIONS


@pytest.fixture
def opened(browser, report):
    browser.get(report.as_uri())
    return browser


def find(browser, css):
    return browser.find_elements("css selector", css)


def texts(browser, css):
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((node) => node.textContent)", css
    )


def shown(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('#images-body .cell img')].map((image) => image.src)"
    )


def test_the_console_is_empty_and_every_image_decodes(opened):
    wide = opened.execute_async_script(
        "const done = arguments[0]; Promise.all([...document.images].map((image) => image.decode()))"
        ".then(() => done([...document.images].map((image) => image.naturalWidth)), (error) => done(String(error)))"
    )
    assert isinstance(wide, list), wide
    assert len(wide) > 20
    assert min(wide) > 0
    assert opened.get_log("browser") == []


def test_a_column_has_one_prompt_and_seed(opened):
    rows = opened.execute_script(
        "return [...document.querySelectorAll('#images-body tbody tr')].map((row) =>"
        " [...row.querySelectorAll('.cell')].map((cell) => cell.title))"
    )
    assert len(rows) == 5  # the base and four adapters
    assert all(row == ["a hornling\nseed 1000", "a hornling\nseed 1001", "a hornling\nseed 1002"] for row in rows)


def test_the_controls_change_the_images(opened):
    first = shown(opened)
    find(opened, "[data-name='Prompts alter']")[0].click()
    second = shown(opened)
    assert second != first
    assert "on a beach" in find(opened, "#images-body .prompt")[0].text
    assert opened.switch_to.active_element.get_attribute("data-name") == "Prompts alter"
    find(opened, "[data-name='Captions none']")[0].click()
    assert len(shown(opened)) == 9  # the base, lora and lokr
    find(opened, "[data-name='card biscuit']")[0].click()
    assert shown(opened) != second
    assert texts(opened, "h2 .of") == ["biscuit"] * sum(section.per_concept for section in SECTIONS)


def test_a_failed_adapter_is_named_with_its_error(opened):
    assert "the loss was NaN at step 3 <b>" in find(opened, "[role=alert]")[0].text
    find(opened, "[data-name='card biscuit']")[0].click()
    assert texts(opened, "#images-body .failed") == ["Failed: the loss was NaN at step 3 <b>"]


def test_the_table_sorts_both_ways_and_filters(opened):
    def column(place):
        return texts(opened, f"#table-body tbody td:nth-child({place})")

    def press(label):
        next(head for head in find(opened, "#table-body th button") if head.text.startswith(label)).click()

    assert texts(opened, "#table-tools [role=status]") == ["21 of 21 rows"]
    press("Value")
    up = [float(text) for text in column(6)]
    assert up == sorted(up)
    assert len(set(up)) > 3
    assert find(opened, "#table-body th[aria-sort=ascending]")[0].text.startswith("Value")
    press("Value")
    assert [float(text) for text in column(6)] == sorted(up, reverse=True)
    find(opened, "[data-name='filter dimension'] option[value=fidelity]")[0].click()
    assert set(column(4)) == {"fidelity"}
    assert len(column(4)) == 7
    aligned = opened.execute_script(
        "return getComputedStyle(document.querySelector('#table-body td.number')).textAlign"
    )
    assert aligned == "right"


def test_a_heading_sorts_by_keyboard(opened):
    head = find(opened, "#table-body th button")[0]
    head.send_keys("\ue007")
    assert find(opened, "#table-body th")[0].get_attribute("aria-sort") == "ascending"


def test_a_click_enlarges_an_image_and_arrows_go_on(opened):
    find(opened, "#images-body tbody tr:nth-child(2) .cell")[0].click()
    dialog = find(opened, "dialog[open]")[0]
    assert [node.text for node in dialog.find_elements("css selector", "figcaption")] == [
        "A reference",
        "Base",
        "LoRA · none",
    ]
    assert "seed 1000" in dialog.text
    dialog.send_keys("\ue014")
    assert "seed 1001" in dialog.text
    dialog.send_keys("\ue015")
    assert "LoRA · all" in dialog.text
    dialog.send_keys("\ue00c")
    assert not find(opened, "dialog[open]")


def test_a_trigger_that_looks_like_a_script_is_shown_as_text(opened):
    assert texts(opened, "#captions-body code")[0] == "<script>alert(2)</script>"
    assert find(opened, "h1")[0].text == "A trial <script>alert(1)</script>"
    assert set(texts(opened, "#captions-body td s")) == {"droopy_ears"}


def test_plots_show_every_adapter_and_the_base(opened):
    assert len(find(opened, "#tradeoff-plot .point:not(.base)")) == 4
    assert len(find(opened, "#tradeoff-plot .point.base")) == 1
    assert len(find(opened, "#losses-body path.smooth")) == 3
    assert "LoRA · all (cached)" in find(opened, "#losses-body .fine")[0].text
    find(opened, "[data-name='line lokr']")[0].click()
    assert len(find(opened, "#losses-body path.smooth")) == 1


@pytest.mark.parametrize(
    "bare",
    [
        {},
        {"concepts": [{"name": "c"}]},
        {
            "adapters": [
                {"concept": "c", "algorithm": "lora", "scores": {"a/b/c": {"value": None, "note": "one image"}}}
            ]
        },
        {"adapters": [{"concept": "c", "algorithm": "lora", "error": "out of memory"}], "bases": [{"concept": "c"}]},
    ],
    ids=["nothing", "no adapters", "no intervals", "all failed"],
)
def test_a_page_with_missing_parts_logs_no_error(browser, bare, tmp_path):
    browser.get(render({"title": "Bare", **bare}, tmp_path).as_uri())
    assert browser.get_log("browser") == []
    assert find(browser, ".empty")


def test_a_narrow_page_does_not_scroll_sideways(opened):
    size = opened.get_window_size()
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        assert opened.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        opened.set_window_size(size["width"], size["height"])


def test_validation_and_samples_of_training_are_shown(browser, study, tmp_path):
    image = study["concepts"][0]["references"][0]
    watched = {
        "bands": {f"quarter_{n}": [0.1 * n] * 20 for n in (1, 2, 3, 4)},
        "validation": [(0, 0.5), (10, 0.2), (20, 0.3)],
        "unit": "epoch",
        "samples": [{"count": count, "images": [image, image]} for count in (0, 10, 20)],
    }
    ends = [one | watched if not one.get("error") else one for one in study["adapters"]]
    early = [{**one, "checkpoint": "epoch 10", "losses": []} for one in study["adapters"] if not one.get("error")]
    browser.get(render({**study, "adapters": [*early, *ends]}, tmp_path).as_uri())
    assert browser.get_log("browser") == []
    assert texts(browser, "#validation-body tbody tr:first-child td")[1:] == [
        ".100", ".200", ".300", ".400", ".500", ".200, step 10", ".300",
    ]  # fmt: skip
    assert texts(browser, "#samples-body figure:first-of-type th") == ["epoch 0", "epoch 10", "epoch 20"]
    assert len(find(browser, "#samples-body figure:first-of-type img")) == 6
    assert "epoch 10" not in "".join(texts(browser, "#images-body .model"))
    find(browser, "[data-name='Compare checkpoint']")[0].click()
    assert "epoch 10" in "".join(texts(browser, "#images-body .model"))
    assert not any("epoch 10" in text for text in texts(browser, "#losses-body .fine"))


def test_the_table_of_adapters_counts_skipped_images(opened):
    heads = texts(opened, "#adapters-body th")
    place = heads.index("Skipped") + 1
    assert heads.index("Images") == place - 2
    cells = texts(opened, f"#adapters-body td:nth-child({place})")
    assert set(cells) == {"0", "1"}
    titles = {one.get_attribute("title") for one in find(opened, f"#adapters-body td:nth-child({place}) span")}
    assert titles == {"Picture `7.jpg` is truncated"}


LENGTHEN = """
for (const cell of document.querySelectorAll("#table-body td:not(.number)"))
  (cell.firstElementChild || cell).textContent += " with a long name";
const table = document.querySelector("#table-body .scroll");
return [table.scrollWidth, table.clientWidth];
"""


def test_long_names_wrap_so_that_the_verdict_of_each_score_is_in_view(opened):
    opened.set_window_size(1300, 1000)
    needed, wide = opened.execute_script(LENGTHEN)
    assert 0 < needed <= wide
