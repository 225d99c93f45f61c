"""Captions in files are found in every form in use, and files of no use are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lycoris.captions.sidecar import Sidecars
from lycoris.data.caption_files import find_caption_files
from lycoris.data.text_files import split_captions
from lycoris.errors import InputError

TABLE = '{"file_name": "00.jpg", "text": "red hat, table"}\n{"file_name": "01.jpg", "text": "blue"}\n'
FORMS = {
    "00.txt": "red hat, table",
    "00.TXT": "red hat, table\n",
    "00.jpg.txt": "\ufeffred hat, table",
    "00.caption": "red hat, table",
    "00.jpg.Caption": "red hat, table",
    "00.json": '{"caption": "red hat, table", "width": 3}',
    "00.jpg.json": '{"tags": ["red hat", "table"]}',
    "00.Json": '{"tags": {"red hat": 0.9, "table": 0.5}}',
    "00.JSON": '{"tags": {"general": ["red hat"], "object": ["table"]}}',
    "00.jpg.JSON": '{"tag_string": "red_hat table", "prompt": {"3": {"inputs": {}}}}',
    "metadata.jsonl": TABLE,
    "metadata.csv": "file_name,text\n00.jpg,\"red hat, table\"\n",
    "../metadata.jsonl": '{"file_name": "teapot/00.jpg", "prompt": "red hat, table"}\n',
    "../metadata.csv": "file_name,what_it_shows\nteapot\\00.jpg,\"red hat, table\"\n",
    "meta_cap.json": '{"C:/elsewhere/00": {"caption": "red hat, table"}}',
    "../meta_clean.json": '{"teapot/00.jpg": {"tags": "red hat, table"}}',
}  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Two images that need not exist, in a folder of a data folder."""
    (tmp_path / "teapot").mkdir()
    return [tmp_path / "teapot" / "00.jpg", tmp_path / "teapot" / "01.jpg"]


def write(images: list[Path], name: str, text: str | bytes) -> Path:
    file = images[0].parent / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Path(file.resolve())


def read(images: list[Path]) -> Sidecars:
    return Sidecars.read(images, images[0].parents[1])


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_tags_and_a_sentence(images: list[Path], name: str) -> None:
    file = write(images, name, FORMS[name])
    sidecars = read(images)
    assert sidecars.tags(images[0]) == ({"red hat": 1.0, "table": 1.0},)
    assert sidecars.sentences(images[0]) == ("red hat, table",)
    assert sidecars.files.files() == {file: ""}
    assert (sidecars.tags(images[1]) is None) == (FORMS[name] is not TABLE)


def test_tags_prefer_the_text_file_and_sentences_the_caption_file(images: list[Path]) -> None:
    write(images, "00.txt", "cat, table")
    write(images, "00.caption", "A cat on a table.")
    unused = write(images, "00.json", '{"caption": "a dog"}')
    sidecars = read(images)
    assert sidecars.tags(images[0]) == ({"cat": 1.0, "table": 1.0},)
    assert sidecars.sentences(images[0]) == ("A cat on a table.",)
    reasons = {file: reason for file, reason in sidecars.files.files().items() if reason}
    assert list(reasons) == [unused]
    assert "precedence" in reasons[unused]


@pytest.mark.parametrize(
    ("name", "text", "captions"),
    [
        ("00.txt", "a red cat, table\na blue cat, floor\n\n", ["a red cat, table", "a blue cat, floor"]),
        ("00.caption", "A cat sits on the table.\nThere is a cat, asleep.", 2),
        ("00.json", '{"captions": ["red cat", "blue cat"]}', ["red cat", "blue cat"]),
        ("metadata.jsonl", TABLE + '{"file_name": "00.jpg", "text": "a cat"}\n', ["red hat, table", "a cat"]),
        ("00.txt", "a {red|{dark|light} blue} cat", ["a red cat", "a dark blue cat", "a light blue cat"]),
        ("00.txt", "cat, (red hat:1.2), (o)_(o)", ["cat, red hat, (o)_(o)"]),
    ],
)
def test_an_image_may_have_several_captions(
    images: list[Path], name: str, text: str, captions: list[str] | int
) -> None:
    write(images, name, text)
    sentences = read(images).sentences(images[0])
    assert sentences is not None
    assert list(sentences) == captions if isinstance(captions, list) else len(sentences) == captions


def test_short_lines_are_tags_of_one_caption() -> None:
    assert split_captions("cat\nred hat,\n") == ("cat\nred hat,",)
    assert split_captions("cat, dog\nsaber") == ("cat, dog\nsaber",)
    assert split_captions("") == ("",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("00.txt", "café".encode("latin-1"), r"00\.txt.*UTF-8.*byte 3"),
        ("00.txt", "red".encode("utf-16"), r"00\.txt.*UTF-8"),
        ("00.txt", "red".encode("utf-16-le"), r"00\.txt.*UTF-16"),
        ("00.json", b"{", r"00\.json.*not JSON"),
        ("00.json", b'{"caption": 3}', r"caption.*00\.json.*but got `3`"),
        ("00.json", b'{"tags": 3}', r"tags.*00\.json.*but got `3`"),
        ("metadata.jsonl", b'{"file_name": "00.jpg", "text": "a"}\n[', r"Row 2 of .*metadata\.jsonl"),
        ("metadata.jsonl", b'{"file_name": "00.jpg", "text": "a"}\n{"text": "b"}', r"Row 2 .*file_name"),
        ("metadata.csv", "file_name,text\n00.jpg,café".encode("latin-1"), r"metadata\.csv.*UTF-8"),
        ("00.txt", b"{a|b}" * 7, r"00\.txt.*more than 64"),
        ("00.txt", b"{2$$a|b}", r"00\.txt.*not supported"),
    ],
)
def test_an_unreadable_caption_is_an_error_that_names_the_file(
    images: list[Path], name: str, content: bytes, message: str
) -> None:
    write(images, name, content)
    with pytest.raises(InputError, match=message):
        sidecars = read(images)
        sidecars.tags(images[0])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("00.json", '{"width": 512}', "no caption"),
        ("metadata.jsonl", '{"image": "00.jpg", "text": "a"}', "no column `file_name`"),
        ("metadata.csv", "file_name,size\n", "no captions"),
        ("meta_cap.json", "[]", "no images"),
        ("metadata.jsonl", '{"file_name": "07.jpg", "text": "a"}', "names none of the images, but `07.jpg`"),
    ],
)
def test_a_file_of_no_use_is_named_with_the_reason(images: list[Path], name: str, content: str, reason: str) -> None:
    file = write(images, name, content)
    assert list(read(images).files.unread) == [file]
    assert reason in read(images).files.unread[file]


def test_rows_of_images_that_are_not_there_are_counted(images: list[Path]) -> None:
    write(images, "metadata.jsonl", TABLE.replace("01", "77"))
    (note,) = find_caption_files(images, images[0].parents[1]).notes
    assert "1 images that are not there, such as `77.jpg`" in note


def test_captions_are_those_beside_the_link_and_not_beside_its_target(images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "blob").write_bytes(b"")
    (tmp_path / "store" / "blob.txt").write_text("wrong")
    images[0].symlink_to(tmp_path / "store" / "blob")
    write(images, "00.txt", "red hat")
    assert read(images).tags(images[0]) == ({"red hat": 1.0},)


def test_kohya_metadata_of_the_last_tool_counts(images: list[Path]) -> None:
    write(images, "meta_cap.json", json.dumps({"00": {"caption": "first"}}))
    write(images, "meta_lat.json", json.dumps({"00": {"caption": "a cat", "tags": "cat, red"}}))
    sidecars = read(images)
    assert sidecars.tags(images[0]) == ({"cat": 1.0, "red": 1.0},)
    assert sidecars.sentences(images[0]) == ("a cat",)


def test_accents_may_be_stored_in_either_way(tmp_path: Path) -> None:
    image = tmp_path / "cafe\u0301.jpg"
    (tmp_path / "caf\u00e9.txt").write_text("red")
    assert Sidecars.read([image]).tags(image) == ({"red": 1.0},)
