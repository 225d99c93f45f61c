"""A study and its report, made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lycoris.report import render
from tests.report.run_record import trial_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two concepts, two algorithms, two tag strategies; one adapter failed, one has no loss curve."""
    return trial_study(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def report(study: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study rendered."""
    return render(study, tmp_path_factory.mktemp("report") / "report.html")
