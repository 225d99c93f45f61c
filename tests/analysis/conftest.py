"""A small hand-made table in the published format, and the published one where it lies beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from lycoris.analysis.io.reading import read_table
from lycoris.analysis.io.score_table import ScoreTable

TABLES = Path(__file__).parent / "tables"
PAPER = Path(__file__).parents[3] / "shared" / "paper"


@pytest.fixture(scope="session", params=["by hand", "paper"])
def files(request) -> tuple[Path, Path]:
    """Scores and configurations."""
    if request.param == "by hand":
        return TABLES / "metrics.csv", TABLES / "configs.csv"
    if not (PAPER / "metrics_mean.csv").is_file():
        pytest.skip("the published table does not lie beside this repository")
    return PAPER / "metrics_mean.csv", PAPER / "config_mapping.csv"


@pytest.fixture(scope="session")
def table(files) -> ScoreTable:
    return read_table(*files)


@pytest.fixture
def changed(tmp_path):
    """Reads the hand-made tables after a change to their lines."""

    def read(metrics=lambda lines: lines, configs=lambda lines: lines) -> ScoreTable:
        paths = []
        for name, change in (("metrics.csv", metrics), ("configs.csv", configs)):
            lines = (TABLES / name).read_text().splitlines()
            paths.append(tmp_path / name)
            paths[-1].write_text("\n".join(change(lines)) + "\n")
        return read_table(*paths)

    return read
