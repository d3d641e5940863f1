"""Fixtures of the tests that run a whole thing."""

from tests.browser import browser

__all__ = ["browser"]
