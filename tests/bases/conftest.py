import pytest

from tests.bases.small_base import save_small_base


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory):
    return save_small_base(tmp_path_factory.mktemp("bases") / "epsilon")


@pytest.fixture(scope="session")
def small_v_folder(tmp_path_factory):
    return save_small_base(tmp_path_factory.mktemp("bases") / "v", prediction_type="v_prediction")
