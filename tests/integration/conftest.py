"""Fixtures of the tests that run a whole thing."""

import pytest

from tests.browser import browser

__all__ = ["browser"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A process has one Ray at a time: the tests with a cluster of their own go before those that share one."""
    items.sort(key=lambda item: item.path.name != "test_nodes.py")
