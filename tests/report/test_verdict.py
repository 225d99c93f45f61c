"""The verdict on a concept: what learned it, what it costs, what to take, and how sure that is."""

from __future__ import annotations

import pytest

from lycoris.report import render
from lycoris.report.run.payload import report_payload
from lycoris.report.run.verdict import study_verdicts
from lycoris.report.shared.image_store import ImageStore
from tests.report.run_record import SIMILARITY, TEXT, score


def verdict_of(study, concept="hornling"):
    return next(one for one in study_verdicts(study) if one.concept == concept)


def with_scores(study, name, **by_adapter):
    """The study with other scores of some adapters of hornling."""
    adapters = [
        {**one, "scores": {**one["scores"], name: by_adapter[key]}}
        if one["concept"] == "hornling" and (key := f"{one['algorithm']}_{one['captions']}") in by_adapter
        else one
        for one in study["adapters"]
    ]
    return {**study, "adapters": adapters}


def test_three_sentences_say_what_learned_what_it_costs_and_what_to_take(study) -> None:
    found = verdict_of(study)
    assert found.outcome == "learned"
    learned, cost, take = found.sentences
    assert learned.startswith("LoKr with captions `none` learned hornling")
    assert "+.250 [.220, .280] in fidelity. So did every other adapter." in learned
    assert "prompts are followed less (controllability −.090 [−.110, −.070])" in cost
    assert "normal when a concept is learned" in cost
    assert take.startswith("Take LoKr with captions `none`: the best mean over all dimensions. ")
    assert "the lead over LoKr with captions `all` may be chance: another seed may turn the order." in take
    assert (found.adapter, found.trigger) == ("hornling-lokr-none", "<script>alert(2)</script>")
    assert found.prompt == "a <script>alert(2)</script> toy"


def test_a_star_behind_the_leader_in_fidelity_is_explained(study) -> None:
    ahead = with_scores(study, SIMILARITY, lora_none=score(0.4, base=0.6, width=0.03))
    assert (
        verdict_of(ahead)
        .sentences[2]
        .endswith("take LoRA with captions `none` instead: its fidelity is higher (+.40), by more than chance.")
    )
    unsure = with_scores(study, SIMILARITY, lora_none=score(0.26, base=0.6, width=0.03))
    assert (
        "LoRA with captions `none` has the higher fidelity (+.260), but that may be chance"
        in verdict_of(unsure).sentences[2]
    )
    assert "higher" not in verdict_of(study).sentences[2]


def test_captions_that_all_adapters_share_are_not_named(study) -> None:
    same = {**study, "adapters": [one for one in study["adapters"] if one["captions"] == "none"]}
    found = verdict_of(same)
    assert found.sentences[0].startswith("LoKr learned hornling")
    assert not any("with captions" in sentence for sentence in found.sentences)


def test_without_a_shown_loss_nothing_is_called_a_cost(study) -> None:
    free = with_scores(study, TEXT, lokr_none=score(0.0, base=0.3, width=0.02))
    assert verdict_of(free).sentences[1].startswith("It costs nothing that these scores can show")


def nothing_learned(study):
    names = ("lora_none", "lora_all", "lokr_none", "lokr_all")
    return with_scores(study, SIMILARITY, **{name: score(0.01, base=0.6, width=0.03) for name in names})


def test_a_shown_difference_too_small_to_matter_is_not_called_learning(study) -> None:
    names = ("lora_none", "lora_all", "lokr_none", "lokr_all")
    tiny = with_scores(study, SIMILARITY, **{name: score(0.001, base=0.6, width=0.0005) for name in names})
    found = verdict_of(tiny)
    assert found.outcome == "not learned"
    assert "above the base's, +.001 [.001, .002]: a difference that small does not matter." in found.sentences[1]


@pytest.mark.parametrize(
    ("difference", "width", "standing"),
    [
        (-0.035, 0.06, "below the base's, −.035 [−.095, .025]: an interval that includes 0 shows nothing."),
        (-0.2, 0.05, "below the base's, −.200 [−.250, −.150]: its images are less like the training images than"),
        (0.0, 0.05, "level with the base's, 0 [−.050, .050]: an interval that includes 0 shows nothing."),
    ],
)
def test_below_the_base_nothing_is_called_best_in_fidelity(study, difference, width, standing) -> None:
    names = ("lora_none", "lora_all", "lokr_none", "lokr_all")
    below = with_scores(study, SIMILARITY, **{name: score(difference, base=0.6, width=width) for name in names})
    second = verdict_of(below).sentences[1]
    assert f"its fidelity is {standing}" in second
    assert second.startswith("LoKr with captions `none` has the best mean over all dimensions so far; ")


def test_without_a_choice_the_first_in_fidelity_is_named(study) -> None:
    bare = nothing_learned(study)
    bare = with_scores(bare, SIMILARITY, lora_all=score(0.02, base=0.6, width=0.03))
    bare = {**bare, "adapters": [{**one, "champion": False} for one in bare["adapters"]]}
    assert (
        verdict_of(bare).sentences[1].startswith("LoRA with captions `all` comes first in fidelity; its fidelity is ab")
    )


def test_a_higher_fidelity_of_one_that_did_not_learn_is_not_recommended(study) -> None:
    other = "image_similarity/trigger/other"
    learned = {name: score(0.2, base=0.5, width=0.05) for name in ("lora_none", "lora_all", "lokr_none", "lokr_all")}
    unsure = with_scores(study, other, **{**learned, "lora_none": score(0.0, base=0.5, width=0.05)})
    third = verdict_of(with_scores(unsure, SIMILARITY, lora_none=score(0.5, base=0.6, width=0.03))).sentences[2]
    assert third.startswith("Take LoKr with captions `none`: of those that learned it, the best mean")
    assert third.endswith(
        "LoRA with captions `none` has the higher fidelity (+.50), but does not beat the base in every encoder."
    )


def test_an_encoder_that_does_not_see_the_difference_is_named(study) -> None:
    one = with_scores(nothing_learned(study), SIMILARITY, lokr_none=score(0.2, base=0.6, width=0.1))
    one = with_scores(one, "image_similarity/trigger/other", lokr_none=score(0.01, base=0.6, width=0.1))
    found = verdict_of(one)
    assert found.outcome == "not learned"
    assert "not with every encoder: not with other" in found.sentences[1]


def test_nothing_is_taken_and_starred_where_nothing_learned(study) -> None:
    found = verdict_of(nothing_learned(study))
    assert found.outcome == "not learned"
    assert found.sentences[0] == (
        "Nothing learned hornling enough yet. An adapter counts as having learned when every encoder (a network that "
        "compares images) finds its images closer to the training images than the base's, by more than chance could "
        "explain and by enough to matter. No adapter here does."
    )
    assert found.sentences[1] == (
        "LoKr with captions `none` has the best mean over all dimensions so far; its fidelity is above the base's, "
        "+.010 [−.020, .040]: an interval that includes 0 shows nothing."
    )
    assert not any("Take" in sentence for sentence in found.sentences)
    page = report_payload(nothing_learned(study), ImageStore())
    (best,) = [one for one in page["adapters"] if one["concept"] == "hornling" and one.get("best")]
    assert best["champion"] is False


def test_few_training_and_generated_images_are_cautions(study) -> None:
    cautions = verdict_of(study).cautions
    assert cautions[0].startswith("trained on 4 images")
    assert cautions[1].startswith("scored on 3 generated images of the trigger")
    more = {
        **study,
        "adapters": [{**one, "pictures": 5, "drawings": {"trigger": [{}] * 8}} for one in study["adapters"]],
    }
    assert verdict_of(more).cautions == ()


def test_without_a_fidelity_score_nothing_is_known(study) -> None:
    bare = {**study, "adapters": [{**one, "scores": {}} for one in study["adapters"] if not one.get("error")]}
    assert verdict_of(bare).outcome == "not scored"


@pytest.fixture
def page_of(browser, study, tmp_path):
    """Open a study's page whose adapters have files, and return the text of its verdict."""

    def opened(record):
        (tmp_path / "adapters").mkdir(exist_ok=True)
        folder = tmp_path / "adapters"
        files = [{**one, "file": str(folder / f"{one['name']} x.safetensors")} for one in record["adapters"]]
        browser.get(render({**record, "adapters": files}, tmp_path).as_uri())
        assert browser.get_log("browser") == []
        return browser.find_element("css selector", "#verdict").text

    return opened


def test_the_page_begins_with_the_verdict_and_how_to_use_the_adapter(browser, page_of, study) -> None:
    text = page_of(study)
    assert "Take LoKr" in text
    for program in ("ComfyUI/models/loras", "models/Lora", "<lora:hornling-lokr-none x:1>", "lycoris.load("):
        assert program in text
    (link,) = browser.find_elements("css selector", "#verdict a[href]")
    assert link.get_attribute("href").endswith("/adapters/hornling-lokr-none%20x.safetensors")
    sections = browser.find_elements("css selector", "main section")
    assert sections[0].get_attribute("id") == "verdict"
    browser.find_element("css selector", "#verdict .reading summary").click()
    assert "95 % intervals" in browser.find_element("css selector", "#verdict .reading").text
    assert "the pocket" in browser.find_element("css selector", ".masthead .remark").text


def test_the_page_has_no_star_where_nothing_learned(browser, page_of, study) -> None:
    text = page_of(nothing_learned(study))
    assert "Nothing learned hornling enough yet" in text
    assert "Use it" not in text
    card = browser.find_element("css selector", "[data-name='card hornling']").text
    assert "nothing learned enough yet" in card
    assert "★" not in card
    assert "★" in browser.find_element("css selector", "[data-name='card biscuit']").text


def test_on_a_real_base_nothing_is_said_about_the_pocket(browser, page_of, study) -> None:
    text = page_of({**study, "base": {"name": "models/sd15"}})
    assert "pocket" not in text
    assert not browser.find_elements("css selector", ".masthead .remark")
