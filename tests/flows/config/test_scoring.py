"""Names in a scoring request are checked before anything is generated."""

import pytest

from flows.config.scoring import check_quality_predictors
from lycoris.errors import InputError


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("clip_iqa", "liqee"), "Did you mean `liqe`"),
        (("aesthetics=/no/such/file",), "needs an existing file"),
        (("aesthetics",), "needs an existing file"),
    ],
)
def test_a_quality_predictor_that_cannot_be_opened_is_an_error(names, message):
    with pytest.raises(InputError, match=message):
        check_quality_predictors(names)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("flows.config.scoring.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install pyiqa"):
        check_quality_predictors(("liqe",))
    check_quality_predictors(("clip_iqa",))
