"""One small study, run undisturbed once for all tests that disturb it."""

import shutil

import pytest

from tests.faults.claims import adapter_digests, check, check_nothing_twice
from tests.faults.killing import copy, finish, study


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A project that was never run."""
    return study(tmp_path_factory.mktemp("killed") / "bare")


@pytest.fixture(scope="session")
def undisturbed(bare):
    """An undisturbed run: its folder, and the digests of its adapter files."""
    folder = copy(bare, bare.with_name("undisturbed"))
    result, lines = finish(folder)
    expected = adapter_digests(folder)
    check_nothing_twice({}, folder, lines)
    check(folder, result, expected)
    return folder, expected


@pytest.fixture(scope="session")
def furnished(bare, undisturbed):
    """A project with existing databases, which take longer to create than the rest of a small run."""
    from tasks.tracking.client import tracking_server

    folder = copy(bare, bare.with_name("furnished"))
    shutil.copytree(undisturbed[0] / "runs" / "prefect", folder / "runs" / "prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracking_server(folder / "runs")
    return folder
