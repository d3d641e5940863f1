"""The dashboard in a real browser, on a real study with a trial of every state."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from frostline.search.dashboard import server as dashboard_server
from frostline.search.records.trials import Outcome
from tests.browser import opened
from tests.search.studies import Search, searched


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Search, str]]:
    search = searched(tmp_path / "run")
    with dashboard_server.server(search.run, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield search, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def states(page: Page) -> list[str]:
    """What the list of trials says of each, in their order."""
    page.get_by_text("Trial 0", exact=True).first.wait_for()
    shown = page.locator("ul a, ul [role=button]").all_inner_texts()
    return [text.split("\n")[1] for text in shown if text.startswith("Trial ")]


def test_history_importance_states_and_files_are_there(browser: Browser, served: tuple[Search, str]) -> None:
    _, address = served
    with opened(browser, address, viewport={"width": 1280, "height": 1000}) as page:
        assert page.url == f"{address}/dashboard/studies/0"
        for plot in ("graph-timeline", "graph-intermediate-values"):
            expect(page.locator(f"#{plot}")).to_be_visible()
        history = page.locator("#plot-history")
        expect(history).to_contain_text("accuracy (0 to 1)")
        expect(history.locator(".scatterlayer .point")).to_have_count(8)  # all with a value: complete and pruned
        importance = page.locator("#graph-hyperparameter-importances")
        for name in ("learning_rate", "batch_size (examples)", "frozen_layers (blocks)"):
            expect(importance).to_contain_text(name)
        expect(importance.locator(".barlayer .point")).to_have_count(3)
        page.goto(f"{address}/dashboard/studies/0/trials")
        assert states(page) == [*["Complete"] * 6, "Pruned", "Pruned", "Fail", "Running"]
        page.goto(f"{address}/dashboard/studies/0/trials?numbers=8")
        page.get_by_role("link", name="Records and files of trial 8").click()
        expect(page.get_by_text("failed (loss is nan at step 3)")).to_be_visible()
        page.get_by_role("link", name="trials/00008/error.txt").click()
        expect(page.get_by_text("Traceback: here")).to_be_visible()


def test_a_page_follows_a_search_that_goes_on(browser: Browser, served: tuple[Search, str]) -> None:
    search, address = served
    with opened(browser, f"{address}/dashboard/studies/0/trials") as page:
        assert len(states(page)) == 10
        search.trial(Outcome.COMPLETE)
        page.get_by_text("Trial 10", exact=True).wait_for()
        search.resume()  # two points of the start wait there; the page is loaded again
        search.trial(Outcome.RUNNING)
        page.get_by_text("Trial 11", exact=True).wait_for()
        assert states(page)[10:12] == ["Complete", "Running"]


def test_its_own_buttons_are_refused_and_break_nothing(browser: Browser, served: tuple[Search, str]) -> None:
    search, address = served
    before = (search.run / "study.journal").read_bytes()
    page = browser.new_context().new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/dashboard/studies/0/note")
    page.get_by_text("training examples seen").first.wait_for()
    page.get_by_role("button").last.click()
    page.locator("textarea").first.fill("mine")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("only the search writes its study").first.wait_for()  # it says why
    page.goto(f"{address}/dashboard/studies/0/trials")
    assert len(states(page)) == 10
    assert {"only the search writes its study" in error for error in errors} <= {True}, errors
    assert (search.run / "study.journal").read_bytes() == before
    page.context.close()
