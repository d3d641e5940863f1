"""The collector rests during imports, and is afterwards as it was."""

import gc

import pytest

from frostline.trainables._imports import quick_imports


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_off_inside_and_as_before_afterwards(enabled: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ImportError), quick_imports():
            assert not gc.isenabled()
            raise ImportError("no such package")
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
