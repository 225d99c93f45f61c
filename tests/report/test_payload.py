"""The HTML file of a run report: self-contained, escaped, limited in size."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from lycoris.errors import InputError
from lycoris.report import render
from lycoris.report.run.image_selection import MAX_IMAGES_PER_SET
from lycoris.report.run.losses import final_loss_by_bin, thin_curve
from lycoris.report.run.payload import ADAPTER_FIELDS, SCORE_FIELDS, mark_concept_tags, report_payload
from lycoris.report.shared.image_store import THUMBNAIL_SIDE, ImageStore
from lycoris.report.shared.json_data import json_for_script
from lycoris.terms import VERDICTS


def page(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_the_file_asks_for_nothing_from_outside(report):
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["']?(?!data:|#)\w""", text)
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert "url(http" not in text


def test_what_users_wrote_is_text_and_never_markup(report):
    text = report.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "the loss was NaN at step 3 &lt;b&gt;" in text


def test_json_in_a_script_cannot_close_it():
    text = json_for_script({"a": "</script><!-- & \u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!-- & \u2028"}


def test_every_image_is_embedded_once(report, study):
    data = page(report)
    paths = {path for concept in study["concepts"] for path in concept["references"]}
    for one in [*study["bases"], *study["adapters"]]:
        paths |= {entry["image"] for entries in one.get("drawings", {}).values() for entry in entries}
    assert len(data["images"]) == len(paths)
    sources = [source for source, _, _ in data["images"]]
    assert len(set(sources)) == len(sources)


def test_the_strengths_of_a_champion_are_on_the_page_with_an_image_each(study, tmp_path):
    image = study["adapters"][0]["drawings"]["trigger"][0]["image"]
    points = [
        {"strength": 0.0, "score": 0.25, "dimensions": {"fidelity": 1 / 3}, "image": None},
        {"strength": 0.8, "score": 1.0, "dimensions": {"fidelity": 0.5}, "image": image},
    ]
    strength = {"value": 0.8, "low": 0.6, "high": 1.0, "origin": "best", "rule": "the best", "points": points}
    store = ImageStore()
    adapter = {**study["adapters"][0], "strength": strength}
    first, *others = report_payload({**study, "adapters": [adapter, *study["adapters"][1:]]}, store)["adapters"]
    assert {name: first["strength"][name] for name in ("value", "low", "high", "rule")} == {
        "value": 0.8, "low": 0.6, "high": 1.0, "rule": "the best",
    }  # fmt: skip
    base, best = first["strength"]["points"]
    assert (base["image"], base["dimensions"]["fidelity"]) == (None, pytest.approx(1 / 3, abs=1e-3))
    assert best["image"] == store.add(image)
    assert not any("strength" in other for other in others)


def test_identical_files_share_a_number(tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (16, 16), "red").save(tmp_path / f"{name}.png")
    store = ImageStore()
    assert store.add(tmp_path / "a.png") == store.add(tmp_path / "b.png") == 0
    assert len(store.encode()) == 1


def test_small_images_keep_their_pixels_and_large_ones_shrink(tmp_path):
    import base64
    import io

    small = Image.effect_noise((40, 24), 80).convert("RGB")
    small.save(tmp_path / "small.png")
    Image.new("RGB", (1600, 800), "teal").save(tmp_path / "large.png")
    store = ImageStore()
    store.add(tmp_path / "small.png")
    store.add(tmp_path / "large.png")
    (source, *size), (_, *bounded) = store.encode()
    again = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB")
    assert size == [40, 24]
    assert again.tobytes() == small.tobytes()
    assert bounded == [THUMBNAIL_SIDE, THUMBNAIL_SIDE // 2]


def test_an_unreadable_image_is_reported_and_left_out(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    store = ImageStore()
    assert store.add(tmp_path / "broken.png") is None
    assert store.add(tmp_path / "gone.png") is None
    assert store.add(None) is None
    assert [name in line for name, line in zip(("broken.png", "gone.png"), store.unreadable, strict=True)] == [
        True,
        True,
    ]
    out = render({"title": "t", "concepts": [{"name": "c", "references": [str(tmp_path / "gone.png")]}]}, tmp_path)
    assert "gone.png" in out.read_text(encoding="utf-8")


def test_many_images_are_subsampled_evenly():
    entries = [{"prompt": "p", "seed": seed} for seed in range(100)]
    data = report_payload(
        {"title": "t", "adapters": [{"concept": "c", "drawings": {"trigger": entries}}]}, ImageStore()
    )
    seeds = [seed for _, _, seed in data["adapters"][0]["images"]["trigger"]]
    assert len(seeds) == MAX_IMAGES_PER_SET == data["imagesPerSet"]
    assert seeds[0] == 0
    assert max(seeds) > 90


def test_only_the_concept_s_own_tags_are_marked():
    assert mark_concept_tags("sks toy, Droopy Ears, droopy ears dog", ["droopy_ears"]) == [
        ("sks toy", False),
        ("Droopy Ears", True),
        ("droopy ears dog", False),
    ]


def test_a_loss_curve_is_thinned_to_its_last_step():
    losses = [float(step) for step in range(1000)]
    result = thin_curve(losses, points=100)
    assert result["steps"][0] == 1
    assert result["steps"][-1] == 1000
    assert len(result["steps"]) == len(result["raw"]) == len(result["smooth"]) <= 101
    middle = result["steps"].index(501)
    assert result["smooth"][middle] == pytest.approx(result["raw"][middle], rel=1e-3)


def test_a_loss_curve_is_smoothed_over_a_tenth_of_the_run():
    result = thin_curve([0.0] * 100 + [1.0] * 100)
    index = result["steps"].index(96)
    assert result["smooth"][index] == pytest.approx(6 / 21, rel=1e-3)  # 10 steps to either side


def test_a_loss_that_is_not_finite_leaves_a_gap():
    result = thin_curve([1.0, float("nan"), 3.0])
    assert result["raw"] == [1.0, None, 3.0]
    assert result["smooth"] == [2.0, 2.0, 2.0]
    assert thin_curve([]) == {"steps": [], "raw": [], "smooth": []}


def test_scores_that_are_not_finite_do_not_stop_the_report(tmp_path):
    scores = {"vendi/trigger/clip": {"value": float("nan"), "base": 1.0, "difference": float("inf")}}
    out = render({"title": "t", "adapters": [{"concept": "c", "algorithm": "lora", "scores": scores}]}, tmp_path)
    [[verdict, *numbers]] = page(out)["adapters"][0]["scores"]
    assert VERDICTS[verdict] == "unknown"
    assert dict(zip(SCORE_FIELDS, numbers, strict=True)) == {**dict.fromkeys(SCORE_FIELDS), "base": 1.0}


def test_every_adapter_has_its_own_numbers_images_and_settings(study):
    adapters = [
        one if "error" in one else {
            **one, "bytes": 1000 + n, "parameters": 10 + n, "seconds": {"train": 1.0 + n, "draw": 0.5 + n},
            "losses": [float(n)] * 3, "settings": {"rank": n}, "validation": [(0, n)],
        }
        for n, one in enumerate(study["adapters"])
    ]  # fmt: skip
    store = ImageStore()
    data = report_payload({**study, "adapters": adapters}, store)

    def images(one):
        return {
            kind: [(store.add(each["image"]), data["prompts"].index(each["prompt"]), each["seed"]) for each in entries]
            for kind, entries in one.get("drawings", {}).items()
        }

    for row, own in zip(data["adapters"], adapters, strict=True):
        assert {name: row.get(name) for name in ADAPTER_FIELDS.values()} == {
            name: own.get(key) for key, name in ADAPTER_FIELDS.items()
        }
        assert data["settings"][row["settings"]] == own.get("settings", {})
        assert row["curve"]["raw"] == own.get("losses", [])
        assert row["validation"] == [list(point) for point in own.get("validation", [])]
        assert row["images"] == images(own)
        assert row["imageCount"] == sum(map(len, own.get("drawings", {}).values()))
        scores = own.get("scores", {})
        for measure, entry in zip(data["measures"], row["scores"], strict=True):
            if measure["name"] not in scores:
                assert entry is None
                continue
            assert dict(zip(data["scoreFields"], entry[1:], strict=True)) == pytest.approx(scores[measure["name"]])
    assert [(one["concept"], one["captions"], one["images"]) for one in data["bases"]] == [
        (one["concept"], one["captions"], images(one)) for one in study["bases"]
    ]


def test_verdicts_of_scores_and_their_counts_are_those_of_the_record(study):
    data = report_payload(study, ImageStore())
    verdicts = {
        (row["concept"], row["algorithm"], row["captions"]): [VERDICTS[entry[0]] for entry in row["scores"] if entry]
        for row in data["adapters"]
    }
    for (concept, algorithm, captions), own in verdicts.items():
        expected = ["better", "worse" if captions == "none" else "none", "unknown"]  # the last is a distance
        assert own == ([] if (concept, algorithm, captions) == ("biscuit", "lora", "all") else expected)
    counts = {
        concept["name"]: [list(one["counts"].items()) for one in concept["summaries"]] for concept in data["concepts"]
    }
    names = [one["dimension"] for one in data["concepts"][0]["summaries"]]
    assert names == ["fidelity", "controllability", "preservation"]
    for concept, expected in (
        ("hornling", ({"better": 4}, {"worse": 2, "none": 2}, {"unknown": 4})),
        ("biscuit", ({"better": 3}, {"worse": 2, "none": 1}, {"unknown": 3})),
    ):
        assert [{name: count for name, count in own if count} for own in counts[concept]] == list(expected)


def test_a_study_needs_a_title(tmp_path):
    with pytest.raises(InputError, match="title"):
        render({}, tmp_path)


def test_a_folder_gets_the_file_and_no_temporary_files_stay(tmp_path):
    assert render({"title": "t"}, tmp_path) == tmp_path / "report.html"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert render({"title": "t"}, tmp_path / "new" / "mine.html").is_file()


def test_the_rule_and_the_reason_of_a_champion_are_printed(study, tmp_path):
    adapters = [{**one, "reason": "ahead by .05"} if one.get("champion") else one for one in study["adapters"]]
    text = render({**study, "adapters": adapters}, tmp_path).read_text(encoding="utf-8")
    assert "The most similar one." in text
    assert text.count("ahead by .05</span>") == 2


def test_the_loss_by_noise_is_that_of_the_last_tenth_of_the_run():
    late = [9.0] * 36 + [1.0, None, 3.0, float("nan")]
    assert final_loss_by_bin({"quarter_1": late, "quarter_2": [None] * 40}) == [2.0, None]
    assert final_loss_by_bin({"quarter_1": [5.0]}) == [5.0]


def test_a_checkpoint_is_labelled(study, tmp_path):
    first = next(one for one in study["adapters"] if one.get("champion"))
    both = [first, {**first, "checkpoint": "epoch 10", "losses": []}]
    text = render({**study, "adapters": both}, tmp_path).read_text(encoding="utf-8")
    assert "LoKr with captions none, seed 0, epoch 10" in text
    assert page(tmp_path / "report.html")["checkpoints"] is True


def test_skipped_images_reach_the_page(study, tmp_path):
    reason = "Picture `7.jpg` cannot be read to its end"
    adapters = [{**one, "pictures": 11, "set_aside": {"7.jpg": reason}} for one in study["adapters"]]
    data = page(render({**study, "adapters": adapters}, tmp_path))
    assert {(one["trainingImages"], *one["skippedImages"].items()) for one in data["adapters"]} == {
        (11, ("7.jpg", reason))
    }


def test_many_images_fit_the_size_budget(tmp_path):
    import base64

    small, large = ImageStore(budget=130_000), ImageStore(budget=160_000)
    for number in range(40):
        Image.effect_noise((64, 64), 90 + number).convert("RGB").save(tmp_path / f"{number}.png")
        Image.effect_noise((400, 300), 90 + number).convert("RGB").save(tmp_path / f"large-{number}.png")
        small.add(tmp_path / f"{number}.png")
        large.add(tmp_path / f"large-{number}.png")
    for store, budget, sides in ((small, 130_000, {64}), (large, 160_000, range(97, 400))):
        result = store.encode()
        assert len(result) == 40
        assert all(side in sides for _, *size in result for side in size)
        assert sum(len(base64.b64decode(source.split(",")[1])) for source, *_ in result) <= budget


def test_a_large_study_shows_fewer_images_per_adapter_and_the_same_for_all(tmp_path):
    entries = [{"prompt": "p", "seed": seed} for seed in range(20)]
    adapters = [{"concept": "c", "seed": n, "drawings": {"trigger": entries, "alter": entries}} for n in range(1000)]
    data = report_payload({"title": "t", "adapters": adapters}, ImageStore())
    seeds = {tuple(seed for *_, seed in sets) for one in data["adapters"] for sets in one["images"].values()}
    assert len(seeds) == 1
    assert len(*seeds) == 4  # 2,000 sets share the room of 9,000 images
    assert data["imagesPerSet"] == len(*seeds)
