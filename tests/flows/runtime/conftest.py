"""A Prefect server, started once."""

import os

import pytest

from flows.runtime.api_password import CLIENT_VARIABLE
from flows.runtime.client_environment import configure_environment
from flows.runtime.prefect_server import prefect_server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of the server that `lycoris run` starts; its password is in the environment."""
    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        patch.setenv(CLIENT_VARIABLE, "user:of-another-server")
        patch.delenv("PREFECT_API_URL", raising=False)
        configure_environment()
        with prefect_server(home) as url:
            yield url
        assert os.environ[CLIENT_VARIABLE] == "user:of-another-server"
