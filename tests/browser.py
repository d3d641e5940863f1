"""A real browser for tests: Debian's Chromium, driven by Playwright, which brings none of its own here.

from tests.browser import opened  # `browser` is a fixture of tests/integration

def test_it_opens(browser: Browser) -> None:
    with opened(browser, path.as_uri()) as page:
        assert page.title() == "..."
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium, one for all tests of a module; Playwright's event loop must not outlive them."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: apt-get install -y --no-install-recommends chromium", pytrace=False)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(_FLAGS))
        try:
            yield running
        finally:
            running.close()


@contextmanager
def opened(browser: Browser, address: str, **context: Any) -> Iterator[Page]:
    """A page of its own, loaded; at the end nothing may have gone wrong in it.

    Args:
        browser: the fixture.
        address: `file:` (then nothing else may be asked for), or `http:` of a server on this machine (then nothing
            but that server may be asked).
        context: of Playwright's `new_context`, such as `viewport` and `color_scheme`.

    Raises:
        AssertionError: a script raised, the console has an error or a warning, or something was asked for that is
            not at that address.
    """
    at_home = address if address.startswith("file:") else "/".join(address.split("/")[:3]) + "/"
    wrong: list[str] = []

    def look(request: Request) -> None:
        if not request.url.startswith((at_home, "data:", "blob:")):
            wrong.append(f"asked for {request.url}")

    within = browser.new_context(**context)
    try:
        page = within.new_page()
        page.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
        page.on(
            "console",
            lambda said: wrong.append(f"console: {said.text}") if said.type in {"error", "warning"} else None,
        )
        page.on("request", look)
        page.goto(address)
        yield page
        assert not wrong, "\n".join(wrong)
    finally:
        within.close()
