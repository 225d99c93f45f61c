"""A second embedded base is one entry of a table: every room treats it as the first."""

import pytest

from flows.config.defaults import default_annotator, embedded_encoders_note
from flows.studies.definition import load_study
from lycoris.bases.files.diffusers_folder import find_base
from lycoris.captions.default_templates import POCKET_TEMPLATES, templates_for_base
from lycoris.errors import InputError
from lycoris.pocket import BASE, EMBEDDED_BASES
from tasks.tracking.model_package import absolute_base

NAME = "pocket-two"


@pytest.fixture
def second(monkeypatch):
    monkeypatch.setitem(EMBEDDED_BASES, NAME, BASE)


@pytest.mark.usefixtures("second")
def test_it_is_opened_captioned_and_scored_as_the_pocket(tmp_path, monkeypatch):
    assert find_base(NAME) == BASE
    assert templates_for_base(NAME) is POCKET_TEMPLATES
    assert default_annotator(NAME) == "pocket"
    assert embedded_encoders_note(NAME, ("clip",), "vgg") is None
    assert load_study("paper", (f"base={NAME}",)).experiment.tagger == "pocket"
    (tmp_path / NAME).mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute_base(NAME) == NAME  # and not the folder of that name


def test_another_name_is_no_embedded_base(monkeypatch):
    assert default_annotator(NAME) is None
    assert templates_for_base(NAME) is not POCKET_TEMPLATES
    with pytest.raises(InputError, match=f"Base `{NAME}` must be `pocket`, `pocket-flow`, a folder"):
        find_base(NAME)
    monkeypatch.setitem(EMBEDDED_BASES, NAME, BASE)
    with pytest.raises(InputError, match=f"Base `other` must be `pocket`, `pocket-flow`, `{NAME}`, a folder"):
        find_base("other")


def test_the_study_of_times_trains_the_flow_base_with_settings_of_a_flow():
    experiment = load_study("times").experiment
    assert (experiment.base, experiment.sampling_settings().scheduler) == ("pocket-flow", "flow-euler")
    settings = experiment.adapter_settings(experiment.algorithms[0])
    assert settings.training["steps"] == 120
    assert "min_snr" not in settings.training  # weights losses by the noise of a schedule that flows do not have
