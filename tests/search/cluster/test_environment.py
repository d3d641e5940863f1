import os

import pytest

from frostline.search.cluster.environment import environment, prepare_environment


def test_variables_for_started_processes_are_removed_from_this_one_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_TEST_SET", "before")
    monkeypatch.delenv("FROSTLINE_TEST_UNSET", raising=False)
    values = {"FROSTLINE_TEST_SET": "meanwhile", "FROSTLINE_TEST_UNSET": "meanwhile"}
    with pytest.raises(OSError, match="no Ray"), environment(values):
        assert {name: os.environ[name] for name in values} == values
        raise OSError("no Ray")
    assert os.environ["FROSTLINE_TEST_SET"] == "before"
    assert "FROSTLINE_TEST_UNSET" not in os.environ


def test_a_users_own_setting_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.delenv("RAY_AIR_NEW_OUTPUT", raising=False)
    prepare_environment()
    assert (os.environ["RAY_USAGE_STATS_ENABLED"], os.environ["RAY_AIR_NEW_OUTPUT"]) == ("1", "0")
