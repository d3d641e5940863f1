"""Fixtures of the tests that run a whole thing."""

from pathlib import Path

import pytest

from tests.browser import browser

__all__ = ["browser"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole searches go one after the other, in one of pytest's processes.

    It has one Ray at a time: the tests with a cluster of their own go before those that share one.
    """
    items.sort(key=lambda item: item.path.name != "test_nodes.py")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("searches"))
