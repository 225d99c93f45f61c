"""Concept files and folders of images: what is read, and what is refused by name."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from lycoris import pocket
from lycoris.data import concepts_file
from lycoris.data.class_folders import spare_triggers
from lycoris.data.concepts import images_digest, load_concepts
from lycoris.errors import InputError
from lycoris.pocket.world.vocabulary import SPARE_TRIGGERS
from lycoris.safety.yaml_loading import read_yaml

ENTRY = {"category": "toys", "trigger": "sks", "class_noun": "toy", "description": "brown bear"}


def write_image(path, colour="red"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 9), colour).save(path)


def write(root, entries, file=None):
    path = file or root / "concepts.yaml"
    path.write_text(yaml.safe_dump({"concepts": entries}, allow_unicode=True), encoding="utf-8")


@pytest.fixture
def root(tmp_path):
    """Two concepts, one of them with two subclasses, and names that are not ASCII."""
    data = tmp_path / "data"
    for number in (2, 1):
        write_image(data / "toys" / "bär" / f"雪 {number}.png")
    for outfit in ("robe", "coat"):
        write_image(data / "people" / "ana" / outfit / "1.png")
    ana = {
        "category": "people",
        "trigger": "zwx",
        "class_noun": "girl",
        "inherent": ["long hair"],
        "keep": ["hat"],
        "subclasses": {"robe": {"trigger": "red robe"}, "coat": {"trigger": "coat", "description": "girl in a coat"}},
    }
    write(data, {"bär": ENTRY, "ana": ana})
    return data


def change(root, name="bär", **fields):
    content = yaml.safe_load((root / "concepts.yaml").read_text(encoding="utf-8"))["concepts"]
    content[name] = {key: value for key, value in {**content.get(name, {}), **fields}.items() if value is not ...}
    write(root, content)


def test_concepts_come_by_category_and_name_with_their_images_in_order(root):
    ana, bear = load_concepts(root)
    assert (ana.name, bear.name) == ("ana", "bär")
    assert [each.relative_path for each in bear.images] == ["toys/bär/雪 1.png", "toys/bär/雪 2.png"]
    assert all(each.path.is_absolute() and each.path.is_file() for each in (*ana.images, *bear.images))
    assert [each.subclass for each in ana.images] == ["coat", "robe"]
    assert (ana.inherent, ana.keep, bear.inherent) == (("long hair",), ("hat",), None)
    assert bear.description == "brown bear"


def test_a_concept_is_known_by_its_trigger_and_those_of_its_subclasses(root):
    ana, bear = load_concepts(root)
    assert ana.aliases == ("zwx girl", "zwx", "coat", "red robe")
    assert bear.aliases == (bear.full_name, bear.trigger)


def test_what_is_not_described_is_described_by_its_names(root):
    ana = load_concepts(root)[0]
    assert ana.description == "girl"
    assert {each.name: each.description for each in ana.subclasses} == {
        "robe": "girl, red robe",
        "coat": "girl in a coat",
    }


def test_the_shipped_concepts_are_all_read():
    concepts = load_concepts(pocket.IMAGES)
    assert len(concepts) >= 10
    assert len({concept.category for concept in concepts}) == 5
    assert any(len(concept.subclasses) == 2 for concept in concepts)
    assert all(12 <= len(concept.images) <= 20 for concept in concepts)


def test_concepts_can_be_chosen_and_a_misspelt_one_is_met_with_the_nearest(root):
    assert [concept.name for concept in load_concepts(root, names=["bär"])] == ["bär"]
    with pytest.raises(InputError, match="Did you mean `bär`"):
        load_concepts(root, names=["bar"])


def test_the_file_may_lie_elsewhere(root, tmp_path):
    (root / "concepts.yaml").rename(tmp_path / "mine.yaml")
    assert len(load_concepts(root, tmp_path / "mine.yaml")) == 2
    with pytest.raises(InputError, match=r"other\.yaml"):
        load_concepts(root, tmp_path / "other.yaml")


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"trigger": ...}, "`bär`.* has no trigger"),
        ({"trigger": "  "}, "has no trigger"),
        ({"trigger": 7}, "has no trigger"),
        ({"trigger": "a, b"}, "without commas"),
        ({"trigger": "a\nb"}, "line breaks"),
        ({"trigger": "zwx"}, "`ana` and `bär`.* share the trigger `zwx`"),
        ({"trigger": "ZWX"}, "share the trigger"),
        ({"trigger": "red robe"}, "occurs in the subclass's trigger `red robe` of `ana`"),
        ({"class_noun": ...}, "has no class noun"),
        ({"category": ...}, "has no category"),
        ({"category": "../toys"}, "name of a folder"),
        ({"category": ".."}, "name of a folder"),
        ({"category": "/etc"}, "name of a folder"),
        ({"category": "C:\\toys"}, "name of a folder"),
        ({"category": "nul"}, "name of a folder"),
        ({"category": "to\0ys"}, "name of a folder"),
        ({"category": "nowhere"}, "no folder `.*nowhere"),
        ({"triger": "sks"}, "Did you mean `trigger`"),
        ({"inherent": "brown"}, "list of tags"),
        ({"keep": [1]}, "list of tags"),
        ({"description": ["x"]}, "must be a text"),
        ({"subclasses": ["robe"]}, "subclasses"),
        ({"subclasses": {"robe": {}}}, "has no trigger"),
        ({"subclasses": {"..": {"trigger": "x"}}}, "name of a folder"),
        ({"subclasses": {"robe": {"trigger": "red robe"}}}, r"no folder `.*bär/robe"),
        ({"subclasses": {"robe": {"triger": "red robe"}}}, "Did you mean `trigger`"),
    ],
)
def test_a_wrong_entry_is_an_error_that_says_how(root, fields, rule):
    change(root, **fields)
    with pytest.raises(InputError, match=rule):
        load_concepts(root)


@pytest.mark.parametrize("name", ["..", "../../etc", "/etc", "a/b", "a\\b", "a\0b", "con", "x?", ""])
def test_no_class_name_leaves_the_folder(root, name):
    change(root, name=name, **{**ENTRY, "trigger": "qtv"})
    with pytest.raises(InputError, match="name of a folder"):
        load_concepts(root)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "concepts:",
        "concepts: []",
        "concepts: {a: 1}",
        "a: {",
        "? [x]\n: 1",
        "concepts: {a: !!python/name:os.system }",
    ],
)
def test_a_file_that_is_no_list_of_concepts_is_named(root, text):
    (root / "concepts.yaml").write_text(text)
    with pytest.raises(InputError, match=r"concepts\.yaml"):
        load_concepts(root)


def test_a_name_that_stands_twice_is_not_silently_the_last_one(root):
    (root / "concepts.yaml").write_text("concepts:\n  a: {trigger: x}\n  a: {trigger: y}\n")
    with pytest.raises(InputError, match="the key `a` occurs twice"):
        load_concepts(root)


def test_an_empty_class_folder_is_named(root):
    for file in (root / "toys" / "bär").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="toys/bär` of concept `bär` holds no images"):
        load_concepts(root)


def test_an_empty_subclass_folder_is_named(root):
    (root / "people" / "ana" / "robe" / "1.png").unlink()
    with pytest.raises(InputError, match="people/ana/robe"):
        load_concepts(root)


@pytest.mark.parametrize(
    "place", ["people/ana/hat/1.png", "toys/bär/deep/er/1.png", "toys/new/1.png", "toys/1.png", "1.png"]
)
def test_an_image_that_no_entry_covers_is_named_and_not_left_out_in_silence(root, place):
    write_image(root / place)
    with pytest.raises(InputError, match=Path(place).parts[-2] if "/" in place else "1.png"):
        load_concepts(root)


def test_hidden_folders_are_left_alone(root):
    write_image(root / ".cache" / "x" / "1.png")
    write_image(root / "toys" / ".trash" / "1.png")
    assert len(load_concepts(root)) == 2


@pytest.mark.parametrize(("trigger", "rule"), [("girl", "class noun `girl` of `ana`"), ("ZWX", "share"),
                                              ("robe", "subclass's trigger `red robe`")])  # fmt: skip
def test_a_trigger_that_stands_in_what_another_concept_is_called_is_an_error(root, trigger, rule):
    change(root, trigger=trigger)
    with pytest.raises(InputError, match=rule):
        load_concepts(root)


def test_a_trigger_within_a_longer_word_is_no_collision(root):
    change(root, trigger="zw")
    assert len(load_concepts(root)) == 2


def test_the_digest_depends_on_the_bytes_of_its_own_images_only(root):
    def digests():
        return {concept.name: images_digest(concept) for concept in load_concepts(root)}

    first = digests()
    assert digests() == first
    write_image(root / "toys" / "bär" / "雪 2.png", "blue")
    second = digests()
    assert second["bär"] != first["bär"]
    assert second["ana"] == first["ana"]
    change(root, description="black bear", keep=["hat"])
    assert digests() == second


def test_the_digest_does_not_depend_on_where_the_folder_lies(root, tmp_path):
    first = [images_digest(concept) for concept in load_concepts(root)]
    root.rename(tmp_path / "moved")
    assert [images_digest(concept) for concept in load_concepts(tmp_path / "moved")] == first


def test_photographs_without_a_file_get_spare_triggers_and_they_are_logged(tmp_path, caplog):
    for place in ("live/cat/00.jpg", "toy/bear_plushie/00.jpg", "toy/bear_plushie/robe/01.jpg"):
        write_image(tmp_path / place)
    caplog.set_level("INFO")
    cat, bear = load_concepts(tmp_path)
    assert (bear.name, bear.category, bear.class_noun, bear.description) == (
        "bear_plushie", "toy", "bear plushie", "bear plushie",
    )  # fmt: skip
    assert [each.trigger for each in bear.subclasses] == ["robe"]
    assert {cat.trigger, bear.trigger} <= set(SPARE_TRIGGERS)
    assert cat.trigger != bear.trigger
    assert cat.trigger in caplog.text
    assert bear.trigger in caplog.text
    assert load_concepts(tmp_path) == [cat, bear]


def test_a_photographed_style_is_called_a_style(tmp_path):
    write_image(tmp_path / "styles" / "ink-wash" / "1.png")
    (ink,) = load_concepts(tmp_path)
    assert (ink.class_noun, ink.description) == ("style", "ink wash style")


@pytest.mark.parametrize("inner", ["live/cat", "live", ""])
def test_class_folders_or_one_flat_folder_will_do(tmp_path, inner):
    write_image(tmp_path / "live" / "cat" / "00.jpg")
    (cat,) = load_concepts(tmp_path / inner)
    assert (cat.name, cat.category, cat.class_noun) == ("cat", "live", "cat")
    assert cat.images[0].relative_path == (tmp_path / "live/cat/00.jpg").relative_to(tmp_path / inner).as_posix()


def test_a_folder_of_photographs_that_is_no_such_thing_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        load_concepts(tmp_path)
    with pytest.raises(InputError, match="no data folder"):
        load_concepts(tmp_path / "nowhere")
    write_image(tmp_path / "a" / "cat" / "1.png")
    (tmp_path / "a" / "dog").mkdir()
    with pytest.raises(InputError, match="a/dog` holds no images"):
        load_concepts(tmp_path)
    write_image(tmp_path / "a" / "dog" / "1.png")
    write_image(tmp_path / "b" / "cat" / "1.png")
    with pytest.raises(InputError, match=r"Two classes .* `cat`"):
        load_concepts(tmp_path)
    write_image(tmp_path / "1.png")
    with pytest.raises(InputError, match="at the same depth"):
        load_concepts(tmp_path)


def test_a_spare_trigger_is_the_names_own_unless_two_names_meet():
    alone = {name: spare_triggers([name])[name] for name in ("cat", "dog", "mug")}
    together = spare_triggers(sorted(alone))
    assert len(set(together.values())) == 3
    assert sum(together[name] == alone[name] for name in alone) >= 2
    everyone = spare_triggers([str(number) for number in range(len(SPARE_TRIGGERS))])
    assert sorted(everyone.values()) == sorted(SPARE_TRIGGERS)
    with pytest.raises(InputError, match="spare triggers"):
        spare_triggers([str(number) for number in range(len(SPARE_TRIGGERS) + 1)])


def test_an_unchanged_file_is_parsed_once(tmp_path, monkeypatch):
    parsed = []

    def read(text, label):
        parsed.append(label)
        return read_yaml(text, label)

    monkeypatch.setattr(concepts_file, "read_yaml", read)
    file = tmp_path / "concepts.yaml"
    file.write_text("concepts: {bear: {category: toys, trigger: gqp, class_noun: toy}}")
    assert concepts_file.read_entries(file) == concepts_file.read_entries(file)
    assert len(parsed) == 1
    file.write_text("concepts: {bear: {category: toys, trigger: ohw, class_noun: toy}}")
    assert concepts_file.read_entries(file)["bear"]["trigger"] == "ohw"


def test_chosen_triggers_have_one_line_however_the_folder_is_written(tmp_path, monkeypatch, caplog):
    """The command line shows each line once; a folder is read before and within a run."""
    (tmp_path / "photos" / "toys" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "toys" / "cat" / "1.png").touch()
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("INFO", logger="lycoris"):
        load_concepts(Path("photos"))
        load_concepts(tmp_path / "photos")
    assert len(caplog.messages) == 2
    assert len(set(caplog.messages)) == 1
