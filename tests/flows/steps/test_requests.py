"""What an experiment asks of the tasks."""

from __future__ import annotations

import pytest

from flows.config.concepts import DataConcepts
from flows.config.loading import parse_experiment
from flows.steps.requests import caption_request
from tasks.artifacts import TaggerRef

TAGGER = TaggerRef("pocket", "digest")


@pytest.mark.parametrize(
    ("values", "tagged"),
    [
        ({"captions": ["none"]}, False),
        ({"captions": ["sentence"], "captioner": "pocket"}, False),
        ({"captions": ["none", "all"]}, True),
        ({"captions": ["none"], "algorithms": [{"algorithm": "lora", "captions": ["adjusted"]}]}, True),
    ],
)
def test_images_are_tagged_only_where_a_caption_strategy_has_tags(values, tagged) -> None:
    request = caption_request(parse_experiment(values), DataConcepts((), None), TAGGER, None)
    assert request.tagger == (TAGGER if tagged else None)
