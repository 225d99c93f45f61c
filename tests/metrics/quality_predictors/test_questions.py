"""Questions to networks: the probability of yes, on tiny members of the published classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from lycoris import pocket
from lycoris.errors import InputError
from lycoris.metrics import PromptSpec
from lycoris.metrics.controllability import mean_answer
from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.quality_predictors.questions import CHAT_ENDING, QuestionScore, open_answerer
from lycoris.pocket.world.generator import sample_image
from tests.captions.taggers import small_captioners
from tests.encoders.test_encoders import noise_image

CPU = torch.device("cpu")
QUESTIONS = ["a cat on the beach", "red", "a dog in the snow wearing a hat"]


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [noise_image(32, 32, n) for n in range(3)]


def blip(folder: Path) -> Path:
    """Write a BLIP for question answering that answers at random."""
    small_captioners.blip(folder)
    config = transformers.BlipConfig.from_pretrained(folder)
    config.text_config.initializer_range = 0.5
    torch.manual_seed(0)
    transformers.BlipForQuestionAnswering(config).save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["yes", "no"])
    tokenizer.save_pretrained(folder)
    model = transformers.BlipForQuestionAnswering.from_pretrained(folder)
    model.text_decoder.resize_token_embeddings(len(tokenizer))
    model.text_encoder.resize_token_embeddings(len(tokenizer))
    model.config.text_config.vocab_size = len(tokenizer)
    model.save_pretrained(folder)
    return folder


def vilt(folder: Path) -> Path:
    """Write a ViLT with three answers."""
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *small_captioners.WORDS]
    tokenizer = transformers.BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    tokenizer.save_pretrained(folder)
    config = transformers.ViltConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8, initializer_range=0.5, id2label={0: "2", 1: "yes", 2: "no"},
    )  # fmt: skip
    transformers.ViltForQuestionAnswering(config).save_pretrained(folder)
    transformers.ViltImageProcessorPil(size={"shortest_edge": 32}, size_divisor=8).save_pretrained(folder)
    return folder


def expected_of_vilt(folder: Path, image: Image.Image, question: str) -> float:
    model = transformers.ViltForQuestionAnswering.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(question, return_tensors="pt")
    pixels = transformers.ViltImageProcessorPil.from_pretrained(folder)(image, return_tensors="pt").pixel_values
    with torch.no_grad():
        return float(model(**tokens, pixel_values=pixels).logits[0, 1:].softmax(0)[0])


def expected_of_blip(folder: Path, image: Image.Image, question: str) -> float:
    model = transformers.BlipForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pixels = transformers.BlipImageProcessorPil.from_pretrained(folder)(image, return_tensors="pt").pixel_values
    result = model.generate(
        **{name: tokenizer(question, return_tensors="pt")[name] for name in ("input_ids", "attention_mask")},
        pixel_values=pixels, max_new_tokens=1, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    return float(result.logits[0][0].softmax(0)[tokenizer.convert_tokens_to_ids("yes")])


def expected_of_chat(folder: Path, image: Image.Image, question: str) -> float:
    from lycoris.encoders.chat_models import chat_prompt, load_processor

    processor = load_processor(folder, "test")
    text = chat_prompt(processor, question + CHAT_ENDING, folder, "test")
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    inputs = processor(images=[image], text=[text], return_tensors="pt")
    result = model.generate(
        **inputs, max_new_tokens=1, min_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
    )
    return float(result.logits[0][0].softmax(0)[processor.tokenizer.encode("Yes", add_special_tokens=False)[0]])


FAMILIES = {
    "vilt": (vilt, expected_of_vilt),
    "blip": (blip, expected_of_blip),
    "llava": (small_captioners.llava, expected_of_chat),
    "qwen2_vl": (small_captioners.qwen2_vl, expected_of_chat),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_probability_of_yes_is_that_of_the_model_itself_in_any_batch(family, images, tmp_path: Path) -> None:
    write, expected = FAMILIES[family]
    folder = write(tmp_path / family)
    answerer = open_answerer(folder, CPU)
    together = answerer.yes(images, QUESTIONS)
    alone = [expected(folder, *pair) for pair in zip(images, QUESTIONS, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(answerer.yes(images[::-1], QUESTIONS[::-1])[::-1], together, atol=1e-5)
    assert np.ptp(together) > 1e-4


class CountingAnswerer:
    """Answers with the length of the question."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, int], str]] = []

    def yes(self, images, questions) -> np.ndarray:
        self.asked += [(image.size, question) for image, question in zip(images, questions, strict=True)]
        return np.array([len(question) / 100 for question in questions])


def test_there_is_a_question_for_each_tag_and_none_for_a_prompt_without_tags() -> None:
    score = QuestionScore.__new__(QuestionScore)
    score.answerer = CountingAnswerer()
    images = [Image.new("L", (4 + n, 4)) for n in range(3)]
    prompts = [PromptSpec(text, text, n) for n, text in enumerate(["sks, red, hat", "sks", "sks, snow"])]
    answers = score.predict(PredictionInputs(images, prompts=prompts, requested=[["hat", "red"], [], ["snow"]]))
    question = 'Does this figure show "{}"?'
    assert score.answerer.asked == [((4, 4), question.format("hat")), ((4, 4), question.format("red")),
                                    ((6, 4), question.format("snow"))]  # fmt: skip
    lengths = [len(question.format(tag)) / 100 for tag in ("hat", "red", "snow")]
    np.testing.assert_allclose(answers, [[lengths[0] + lengths[1], 2], [0, 0], [lengths[2], 1]])
    assert mean_answer(answers) == pytest.approx(sum(lengths) / 3)
    assert np.isnan(mean_answer(answers[1:2]))
    whole = score.predict(PredictionInputs(images, prompts=prompts))
    np.testing.assert_array_equal(whole[:, 1], 1)


def test_other_networks_are_errors(tmp_path: Path) -> None:
    folder = vilt(tmp_path / "vilt")
    config = transformers.ViltConfig.from_pretrained(folder)
    config.id2label = {0: "2", 1: "3", 2: "4"}
    config.save_pretrained(folder)
    with pytest.raises(InputError, match="answers `yes` and `no`"):
        open_answerer(folder, CPU)
    with pytest.raises(InputError, match="question answering family"):
        open_answerer(pocket.DINOV2, CPU)


def test_the_embedded_network_answers_about_the_drawn_world() -> None:
    answers = QuestionScore("pocket")
    drawn = [sample_image(20_000_000 + seed, held_out=True) for seed in range(24)]
    images = [image for image, _, _ in drawn]
    right = 0
    for attribute in ("species", "background"):
        true = [[getattr(tags, attribute)] for _, tags, _ in drawn]
        false = [true[(row + 1) % 24] if true[(row + 1) % 24] != own else ["bow"] for row, own in enumerate(true)]
        prompts = [PromptSpec("", "", n) for n in range(24)]
        yes, no = (
            answers.predict(PredictionInputs(images, prompts=prompts, requested=own))[:, 0] for own in (true, false)
        )
        right += int((yes > 0.5).sum() + (no < 0.5).sum())
    assert right / 96 > 0.8
