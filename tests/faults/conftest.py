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
    """A run from nothing: its folder, and what its adapter files are."""
    folder = copy(bare, bare.with_name("undisturbed"))
    result, told = finish(folder)
    expected = adapter_digests(folder)
    check_nothing_twice({}, folder, told)
    check(folder, result, expected)
    return folder, expected


@pytest.fixture(scope="session")
def furnished(bare, undisturbed):
    """A project with databases in place, which take longer to make than the rest of a small run."""
    from tasks.tracking.client import tracking_server

    folder = copy(bare, bare.with_name("furnished"))
    shutil.copytree(undisturbed[0] / "runs" / "prefect", folder / "runs" / "prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracking_server(folder / "runs")
    return folder
