import pytest

from dsver_shelf.provider import ShelfProvider
from mlflow_dsver.testing import Known, ProviderContract, emulator_fixture

shelf_emulator = emulator_fixture("shelf")


@pytest.mark.parametrize("shelf_emulator", [{"seed": True}], indirect=True)
class TestShelf(ProviderContract):
    @pytest.fixture
    def provider(self, shelf_emulator):
        return ShelfProvider()

    @pytest.fixture
    def known(self):
        return Known("cats", ("c0ffee1", "beefed2"), tag=("feature/x", "beefed2"))
