"""What tests of more than one folder use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import typechecking
from tests.browser import open_browser

typechecking.install()

TESTS = Path(__file__).parent


LONG_FOLDERS = ("e2e", "flows", "tasks", "training")
"""Folders with the files of tests that take longest, which are distributed first, so that none of them is last."""


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist distribute files in their order and not those with most tests first, which are short."""
    if config.pluginmanager.hasplugin("xdist"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long folders first."""
    items.sort(key=lambda item: not any(TESTS / folder in item.path.parents for folder in LONG_FOLDERS))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests marked `gpu` where there is no GPU."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def _wrong_types(request: pytest.FixtureRequest) -> Iterator[None]:
    """Pause the type checks in tests marked `wrong_types`."""
    with typechecking.paused() if request.node.get_closest_marker("wrong_types") else nullcontext():
        yield


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real browser, without a window or a network; one for each file of tests."""
    opened = open_browser(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.quit()


@contextmanager
def restored_tracking_address() -> Iterator[None]:
    """Leave only the tracking address that the user chose: commands and `mlflow.set_tracking_uri` set others.

    An address of ours that is put back after a newer one was set would be taken for the user's choice.
    """
    from tasks.tracking.client import user_environment  # imports parts of `lycoris`, whose types are checked by now

    before = {name: user_environment(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(autouse=True, scope="module")
def restore_tracking_address_of_module() -> Iterator[None]:
    """No file of tests meets the tracking address that fixtures of another have set."""
    with restored_tracking_address():
        yield


@pytest.fixture(autouse=True)
def restore_tracking_address() -> Iterator[None]:
    """No test meets the tracking address that another has set."""
    with restored_tracking_address():
        yield
