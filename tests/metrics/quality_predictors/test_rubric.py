"""Grades by a judge model: what it is asked, and how its answer is read."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lycoris.errors import InputError
from lycoris.metrics import PromptSpec
from lycoris.metrics.controllability import mean_answer
from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.quality_predictors.rubric import RUBRICS, RubricJudge, parse_grade
from tests.captions.taggers import small_captioners
from tests.encoders.test_encoders import noise_image

ANSWERS = {
    "The colours match. Score: 3": 3,
    "Score: 1. On second thoughts:\nscore - 4/4": 4,
    "**Score:** 0": 0,
    "Score: 5": None,
    "Score: 3.5": None,
    "I cannot judge this image.": None,
    "": None,
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_last_grade_is_read_and_anything_else_is_none(answer: str) -> None:
    assert parse_grade(answer) == ANSWERS[answer]


def judge_with(metric: str, answers: list[str]) -> tuple[RubricJudge, list[tuple[list[tuple[int, int]], str]]]:
    judge, asked = RubricJudge.__new__(RubricJudge), []
    judge.metric, judge.name = metric, "judge"

    def answer(images, text: str) -> str:
        asked.append(([image.size for image in images], text))
        return answers[len(asked) - 1]

    judge.answer = answer
    return judge, asked


def test_the_judge_sees_a_reference_in_turn_and_refused_answers_are_named(caplog: pytest.LogCaptureFixture) -> None:
    judge, asked = judge_with("rubric_concept", ["Score: 4", "No.", "Score: 1"])
    images = [Image.new("L", (4 + n, 4)) for n in range(3)]
    references = [Image.new("RGB", (20 + n, 9)) for n in range(2)]
    with caplog.at_level(logging.WARNING):
        grades = judge.predict(PredictionInputs(images, references=references))
    np.testing.assert_array_equal(grades, [[4, 1], [0, 0], [1, 1]])
    assert mean_answer(grades) == 2.5
    assert [sizes for sizes, _ in asked] == [[(20, 9), (4, 4)], [(21, 9), (5, 4)], [(20, 9), (6, 4)]]
    assert "1 of 3 answers hold no grade" in caplog.text
    with pytest.raises(InputError, match="needs images of the dataset"):
        judge.predict(PredictionInputs(images))


def test_the_prompt_is_in_the_rubric() -> None:
    judge, asked = judge_with("rubric_prompt", ["Score: 2"])
    judge.predict(PredictionInputs([Image.new("L", (4, 4))], prompts=[PromptSpec("sks", "a red {bear}", 0)]))
    assert 'the text "a red {bear}"' in asked[0][1]


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_a_judge_of_the_published_classes_answers_about_two_images(family: str, tmp_path: Path) -> None:
    folder = small_captioners.MODELS[family](tmp_path / family)
    judge = RubricJudge("rubric_concept", str(folder))
    images = [noise_image(32, 32, n) for n in range(2)]
    answer = judge.answer(images, RUBRICS["rubric_concept"])
    assert answer == judge.answer(images, RUBRICS["rubric_concept"])
    assert set(answer.split()) <= set(small_captioners.WORDS)
    grades = judge.predict(PredictionInputs(images[:1], references=images[1:]))
    np.testing.assert_array_equal(grades, [[0, 0]])
