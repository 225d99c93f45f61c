"""Names in a scoring request are checked before anything is generated."""

import sys
from pathlib import Path

import pytest

from flows.cli.score import parse_protocol
from flows.config.preflight import validate_look_alikes
from flows.config.scoring import ScoringConfig
from lycoris import pocket
from lycoris.errors import InputError
from lycoris.metrics.quality_predictors import check_sources, predictor_digests


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("clip_iqa", "liqee"), "Did you mean `liqe`"),
        (("aesthetics=/no/such/file",), "needs the file"),
        (("aesthetics",), "needs its file"),
        (("vqa_score",), "needs its model"),
    ],
)
def test_a_quality_predictor_that_cannot_be_opened_is_an_error(names, message):
    with pytest.raises(InputError, match=message):
        check_sources(names)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(InputError, match="pip install pyiqa"):
        check_sources(("liqe",))
    check_sources(("clip_iqa",))


def test_the_digest_of_a_quality_predictor_is_that_of_its_file(tmp_path: Path):
    file = tmp_path / "head.pth"
    file.write_bytes(b"1")
    ((name, before),) = predictor_digests([f"aesthetics={file}"])
    file.write_bytes(b"2")
    assert name == f"aesthetics={file}"
    assert predictor_digests([f"aesthetics={file}"])[0][1] != before
    assert predictor_digests(["clip_iqa"]) == [["clip_iqa", ""]]


def request(**changes) -> ScoringConfig:
    return ScoringConfig.model_construct(**{"look_alikes": None, "metrics": None, **changes})


def test_look_alikes_are_used_or_an_error(tmp_path: Path):
    validate_look_alikes(request(), {"grumble", "inky"})
    with pytest.raises(InputError, match="add `--look-alikes DIR`"):
        validate_look_alikes(request(metrics=("retrieval_precision",)), {"grumble"})
    with pytest.raises(InputError, match="does not name"):
        validate_look_alikes(request(look_alikes=pocket.IMAGES, metrics=("vendi",)), {"grumble"})
    with pytest.raises(InputError, match="grumble, inky"):
        validate_look_alikes(request(look_alikes=pocket.IMAGES), {"grumble", "inky"})
    with pytest.raises(InputError, match="holds no images"):
        validate_look_alikes(request(look_alikes=tmp_path), {"grumble"})
    validate_look_alikes(request(look_alikes=pocket.IMAGES), {"grumble"})


def test_a_protocol_is_a_name_and_a_folder(tmp_path: Path):
    assert parse_protocol(f"dreambench={tmp_path}") == ("dreambench", tmp_path)
    with pytest.raises(InputError, match="Did you mean `dreambench`"):
        parse_protocol(f"dreambensh={tmp_path}")
    with pytest.raises(InputError, match="needs a folder"):
        parse_protocol("dreambench=/no/such/folder")
