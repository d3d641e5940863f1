"""A search on several nodes that share only an S3, on one machine: a node dies, another cannot use the storage.

    python -m pytest tests/integration/on_nodes_s3.py -k dies

Run it by hand, one test at a time (`dies`, `refused`). Only the driver's own process knows the name of its working
copy, so no node sees it.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from frostline.search import cli
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.records import trials as trial_records
from frostline.trainables._storage import Store
from tests.integration.test_nodes import Nodes, head, nodes, time_limit, wait_for
from tests.s3 import S3, s3, s3_server, store, url

__all__ = ["head", "nodes", "s3", "s3_server", "store", "url"]


@pytest.fixture(scope="module", autouse=True)
def known(s3_server: S3) -> Iterator[None]:
    """Variables for the head, which starts first and uses the storage too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        yield


def test_a_node_dies_and_its_trial_goes_on_from_the_storage(
    s3: S3, nodes: Nodes, url: str, store: Store, tiny_model: Path, tiny_csv: Path
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from frostline.search import tuner

    first = nodes.join(**s3.environment)
    given: dict[str, Any] = {"model": str(tiny_model), "dataset": str(tiny_csv), "profile": "small", "trials": 2}
    given |= {"epochs": 40, "checkpoint_every": 0.0, "confirm_recipes": 0, "address": nodes.address}
    above, _, name = url.rpartition("/")
    plan, corpus = planning.resolve(Options(space="bert_imdb", name=name, url=above, **given))
    planning.claim(plan)
    assert plan.place.url == url
    text = io.StringIO()

    def meanwhile() -> None:
        wait_for(lambda: any(each.endswith("last.safetensors") for each in store.files("trials")))
        nodes.join(**s3.environment)
        nodes.kill(first)

    with time_limit() as late, ThreadPoolExecutor(1) as pool:
        doing = pool.submit(meanwhile)
        found = tuner.run(plan, corpus, Console(file=text, width=200))
    assert not late.is_set(), text.getvalue()[-4000:]
    doing.result()
    assert "unsent" not in found
    assert found["counts"]["failed"] == found["counts"]["running"] == 0
    assert "trial 0: its node does not answer; it goes on from its last snapshot\n" in text.getvalue()
    assert "goes on after epoch " in text.getvalue()
    trials = trial_records.read(plan.place.run / "trials.jsonl")
    kept = {f"trials/{trial.number:05d}/best.safetensors" for trial in trials if trial.best}
    assert store.files("trials").keys() == kept
    assert store.files("best").keys() == {f"best/{path.name}" for path in (plan.place.run / "best").iterdir()}
    assert "lock.json" not in store.files()
    assert not [path for cache in nodes.caches[1:] for path in cache.glob("scratch/*")]


def test_storage_that_a_node_cannot_use_is_refused(
    s3: S3, nodes: Nodes, url: str, tiny_csv: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes.join(**s3.environment)
    nodes.join(**{**s3.environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    given = ["--space", "bert_imdb", "--profile", "small", "--model", str(tiny_model), "--dataset", str(tiny_csv)]
    with time_limit():
        assert cli.main([*given, "--address", nodes.address, "--storage", url]) == cli.USER_ERROR
    said = capsys.readouterr().err
    assert f"--storage {url} cannot be used by all nodes: " in said
    assert "Could not connect to the endpoint URL" in said
