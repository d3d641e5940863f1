"""A search on a cluster of which one node is good for nothing: it is given no more trials, and one that joins is used.

    python -m pytest tests/integration/on_a_bad_node.py

By hand, 50 s on two idle cores: the tests have little time.
"""

import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search import results
from tests.integration.test_nodes import Nodes, head, nodes, results_of, run, search, wait_for

__all__ = ["head", "nodes", "run", "search"]


def test_a_node_that_joins_is_used_and_one_that_is_good_for_nothing_is_set_aside(
    nodes: Nodes, search: Callable[..., dict[str, Any]], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("health", "wires"):  # each costs the start of a process, which is some 6 s
        monkeypatch.setattr(f"search.{module}.STRIKES", 1)
    nodes.join()
    nodes.join(FROSTLINE_CACHE="/proc/nothing-can-be-made-here")

    def meanwhile(text: io.StringIO) -> None:
        nodes.join()
        wait_for(
            lambda: "is given no more trials" in text.getvalue() and len({line.pid for line in results_of(run)}) == 2
        )
        os.kill(os.getpid(), signal.SIGINT)  # this is all that was to be seen

    found = search(meanwhile, trials=1000, epochs=6)
    assert found["slots"] == 2
    assert found["interrupted"]
    failed = [trial for trial in results.read(run / "trials.jsonl") if trial.state == results.FAIL]
    assert {trial.reason for trial in failed} <= {results.INTERRUPTED}
    before, _, after = found["printed"].partition("is given no more trials: it has lost 1 in a row, ")
    assert "cannot write the data cache" in before
    assert after.count("cannot write the data cache") == 1, "as the reason, and in no trial more"
