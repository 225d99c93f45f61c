"""`lycoris captions`: a page with every picture, its tags by strategy, and the numbers of each class."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from flows.cli.main import main
from lycoris import pocket
from lycoris.captions.taggers.image_to_text import follows_instructions
from tests.captions.taggers.small_captioners import MODELS, WORDS

ODD = "猫 🐈, <script>alert(1)</script>, red\\, white, (o)_(o), purple"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shipped concepts of four pictures each; one picture has odd tags beside it, one is broken."""
    folder = tmp_path_factory.mktemp("captions") / "data"
    entries = yaml.safe_load((pocket.IMAGES / "concepts.yaml").read_text())["concepts"]
    for name in ("grumble", "biscuit"):
        target = folder / entries[name]["category"] / name
        target.mkdir(parents=True)
        for number in range(4):
            shutil.copy(pocket.IMAGES / entries[name]["category"] / name / f"{number:02d}.png", target)
    (folder / "movie_characters" / "grumble" / "00.txt").write_text(ODD, encoding="utf-8")
    (folder / "movie_characters" / "grumble" / "03.png").write_bytes(b"no picture")
    chosen = {name: entries[name] for name in ("grumble", "biscuit")}
    (folder / "concepts.yaml").write_text(yaml.safe_dump({"concepts": chosen}))
    return folder


@pytest.fixture(scope="module")
def page(data: Path) -> Path:
    out = data.parent / "out" / "page.html"
    options = ["--set", f"output={data.parent / 'runs'}", "--set", "captions=none,all,adjusted,sentence"]
    assert main(["captions", str(data), "--out", str(out), *options]) == 0
    return out


def test_the_last_line_is_a_json_object_with_all_captions(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    options = ["--out", str(page), "--set", f"output={data.parent / 'runs'}", "--json"]
    assert main(["captions", str(data), *options]) == 0
    out, err = capsys.readouterr()
    output = json.loads(out.splitlines()[-1])
    assert output["page"] == str(page.resolve())
    grumble = next(one for one in output["classes"] if one["name"] == "grumble")
    assert [one["path"].rpartition("/")[2] for one in grumble["pictures"]] == ["00.png", "01.png", "02.png"]
    assert list(grumble["pictures"][0]["tags"])[:3] == ["猫 🐈", "<script>alert(1)</script>", "red, white"]
    assert set(grumble["pictures"][0]["captions"]) == {"none", "all", "adjusted"}
    assert "1 of 3 images of `grumble` have tags in a text file beside them" in err
    assert "Skipped" in err
    assert "03.png" in err


def test_selected_classes_are_shown_and_the_others_still_count(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--set", f"output={data.parent / 'runs'}", "--set", "concepts=biscuit", "--json"]
    assert main(["captions", str(data), "--out", str(tmp_path / "a.html"), *options]) == 0
    (only,) = json.loads(capsys.readouterr().out.splitlines()[-1])["classes"]
    assert only["name"] == "biscuit"
    assert {entry["outside_of"] for entry in only["inherent"]} == {3}


def test_written_tag_files_can_be_edited_and_are_then_used(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    options = ["--out", str(tmp_path / "a.html"), "--set", f"output={tmp_path / 'runs'}"]
    assert main(["captions", str(copy), *options, "--write"]) == 0
    assert (copy / "movie_characters" / "grumble" / "00.txt").read_text(encoding="utf-8") == ODD
    file = copy / "movie_characters" / "grumble" / "01.txt"
    assert "," in file.read_text()
    file.write_text("a monocle")
    assert main(["captions", str(copy), *options]) == 0
    assert "a ohw bear, a monocle" in (tmp_path / "a.html").read_text()


def test_an_error_is_one_sentence_and_exit_code_2(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        ([str(data / "nowhere")], "no data folder"),
        ([str(data), "--set", "captions=al"], "Did you mean `all`"),
        ([str(data), "--set", "tagger=clip"], "`vocabulary` file"),
        ([str(data), "--set", "captioner=pocket"], "`captioner` has no effect without the strategy `sentence`"),
        ([str(data), "--set", "captions=sentence", "--set", "instruction=hats"], "must be None for captioner `pocket`"),
        ([str(data), "--set", "concepts=grumbel"], "Did you mean `grumble`"),
    ):
        assert main(["captions", *arguments, "--set", f"output={data.parent / 'runs'}"]) == 2
        printed = capsys.readouterr().err
        assert printed.splitlines()[-1].startswith("lycoris: ")
        assert message in printed


@pytest.fixture(scope="module", params=MODELS)
def captioner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MODELS[request.param](tmp_path_factory.mktemp("model") / request.param)


def test_a_captioner_in_a_folder_is_named_with_what_it_is_asked_for(
    data: Path, captioner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = follows_instructions(captioner)
    options = ["captions=sentence", f"captioner={captioner}", *(["instruction=name what is red"] if asked else [])]
    sets = [part for option in [*options, f"output={data.parent / 'runs'}"] for part in ("--set", option)]
    assert main(["captions", str(data), "--out", str(tmp_path / "a.html"), "--json", *sets]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    record = result["captioned_by"]["sentence"]
    assert (record["captioner"], len(record["captioner.digest"])) == (str(captioner), 64)
    page = (tmp_path / "a.html").read_text()
    assert str(captioner) in page
    assert result["data_version"] in page
    if asked:
        assert record["instruction"] == "name what is red"
        assert "name what is red" in page
    captions = [row["captions"]["sentence"] for row in result["classes"][0]["pictures"]]
    assert {word for caption in captions for word in caption.rpartition(", ")[2].split()} <= set(WORDS)


def test_the_page_loads_nothing(page: Path) -> None:
    text = page.read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "<script>alert" not in text
    assert "prefers-color-scheme: dark" in text


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    browser.get(page.as_uri())
    return browser


def texts(browser: Any, css: str) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((node) => node.textContent.trim())", css
    )


def test_every_image_decodes_and_the_console_is_empty(opened: Any) -> None:
    wide = opened.execute_async_script(
        "const done = arguments[0]; Promise.all([...document.images].map((image) => image.decode()))"
        ".then(() => done([...document.images].map((image) => image.naturalWidth)), (error) => done(String(error)))"
    )
    assert wide == [64] * 7
    assert opened.get_log("browser") == []


def test_tags_of_a_class_are_struck_in_grey_and_absent_from_adjusted(opened: Any) -> None:
    struck = texts(opened, "#class-2 .captions s") or texts(opened, "#class-1 .captions s")
    assert struck
    line, colour = opened.execute_script(
        "const style = getComputedStyle(document.querySelector('.captions s'));"
        "return [style.textDecorationLine, style.color]"
    )
    assert line == "line-through"
    assert len({part for part in colour.strip("rgb()").split(", ")}) <= 3
    columns = texts(opened, "#class-1 .captions thead th")
    assert columns == ["Image", "Tags", "none", "all", "adjusted", "sentence"]


def test_the_search_finds_images_by_word(opened: Any) -> None:
    field = opened.find_element("css selector", "#find")
    field.send_keys("猫")
    assert texts(opened, "#match-count") == ["1 of 7"]
    assert len(opened.find_elements("css selector", ".captions tbody tr:not([hidden])")) == 1
    assert len(opened.find_elements("css selector", ".concept:not([hidden])")) == 1


@pytest.fixture(scope="module")
def long_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class of 230 small pictures with a tag beside each, and one of two."""
    root = tmp_path_factory.mktemp("many")
    for name, count in (("many", 230), ("two", 2)):
        folder = root / "data" / "things" / name
        folder.mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8, 8), (number, count, 0)).save(folder / f"{number:03d}.png")
            (folder / f"{number:03d}.txt").write_text(f"tag{number}, {'odd' if number % 2 else 'even'}")
    options = ["--set", f"output={root / 'runs'}", "--set", "tagger=sidecar", "--set", "captions=all"]
    assert main(["captions", str(root / "data"), "--out", str(root / "page.html"), *options]) == 0
    return root / "page.html"


def test_images_are_shown_a_hundred_at_a_time(browser: Any, long_page: Path) -> None:
    browser.get(long_page.as_uri())
    first, second = "#class-1 .captions tbody .sub", "#class-1 .pager span"
    assert len(texts(browser, first)) == 100
    assert texts(browser, second) == ["1 to 100 of 230"]
    assert texts(browser, "#class-2 .captions tbody .sub") == ["000.png", "001.png"]
    assert not browser.find_element("css selector", "#class-2 .pager").is_displayed()
    on = browser.find_element("css selector", "#class-1 .next")
    for _ in range(2):
        on.send_keys("\n")
    assert texts(browser, first) == [f"{number}.png" for number in range(200, 230)]
    assert not on.is_enabled()
    browser.find_element("css selector", "#class-1 .previous").send_keys("\n")
    assert texts(browser, second) == ["101 to 200 of 230"]
    assert browser.get_log("browser") == []


def test_the_search_covers_all_pages(browser: Any, long_page: Path) -> None:
    browser.get(long_page.as_uri())
    field = browser.find_element("css selector", "#find")
    field.send_keys("odd")
    assert texts(browser, "#match-count") == ["116 of 232"]
    assert texts(browser, "#class-1 .pager span") == ["1 to 100 of 115"]
    field.send_keys(" tag229")
    assert texts(browser, "#class-1 .captions tbody .sub") == ["229.png"]
    assert len(browser.find_elements("css selector", ".concept:not([hidden])")) == 1


def test_a_phone_needs_no_sideways_scrolling(opened: Any) -> None:
    opened.set_window_size(500, 900)
    wide = opened.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    opened.set_window_size(1400, 1000)
    assert wide
