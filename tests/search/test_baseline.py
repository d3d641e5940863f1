"""The trained baseline of a search: a process of its own, its record, and the seal on its test score."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from frostline.search import baseline as baselines
from frostline.search.baseline import Baseline
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.search.records import baseline as records
from frostline.search.records.baseline import BaselineRecord
from frostline.trainables import text_classification
from frostline.trainables.data.corpus import Corpus
from frostline.trainables.text import tfidf

Planned = tuple[Plan, Corpus]


@pytest.fixture
def planned(options: Options) -> Planned:
    """A plan of the tiny model and table, with its data and a run directory."""
    plan, corpus = planning.resolve(options)
    plan.place.run.mkdir(parents=True)
    return plan, corpus


def computed(plan: Plan, corpus: Corpus) -> BaselineRecord:
    """The record of a baseline that was begun and waited for."""
    with Baseline(plan, corpus) as baseline:
        baseline.begin()
        baseline.wait()
    record = records.read(plan.place.run)
    assert record is not None
    return record


def test_it_is_scored_on_validation_and_its_test_score_is_counted_after_the_test_set_was_read(planned: Planned) -> None:
    plan, corpus = planned
    record, metrics = computed(*planned), {metric.name for metric in text_classification.FAMILY.metrics}
    assert (record.name, record.problem, record.examples) == (tfidf.NAME, "", corpus.sizes())
    assert record.validation.keys() == metrics
    assert record.validation["accuracy"] > 0.9, "half of a text's words tell its label"
    run = plan.place.run
    assert baselines.scored(plan, corpus, reads_test=False) == record
    assert json.loads((run / records.FILE).read_text())["test"] is None
    scored = baselines.scored(plan, corpus, reads_test=True)
    answers = records.answers(run)
    assert answers is not None
    assert scored is not None
    assert scored.test is not None
    assert scored.test.keys() == metrics
    assert scored.test["accuracy"] == pytest.approx((answers.argmax(1) == corpus.labels["test"]).mean())
    assert scored == records.read(run) == dataclasses.replace(record, test=scored.test)


def test_the_process_is_given_no_test_label(planned: Planned) -> None:
    plan, corpus = planned
    baseline = text_classification.FAMILY.trained_baseline(Path(), plan.search.base.data, corpus)
    labels = len(corpus.labels["train"])
    assert {name: len(value) for name, value in baseline.arguments.items() if name != "classes"} == {
        **corpus.sizes(),
        "labels": labels,
    }


def test_a_search_that_goes_on_does_not_compute_it_again(planned: Planned) -> None:
    plan, corpus = planned
    known = BaselineRecord(name="known", seconds=1.0, examples=corpus.sizes(), validation={"accuracy": 0.5})
    records.write(plan.place.run, known, np.zeros((corpus.sizes()["test"], 2), np.float32))
    assert computed(*planned) == known
    (plan.place.run / records.ANSWERS).write_bytes(b"damaged")
    assert computed(*planned).name == tfidf.NAME
    records.write(plan.place.run, dataclasses.replace(known, problem="did not end within 30 s"))
    assert computed(*planned).name == tfidf.NAME, "another session may have the time"


def test_what_does_not_end_in_time_is_ended_and_said(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "SECONDS", 0)
    record = computed(*planned)
    assert (record.problem, record.validation) == ("did not end within 0 s", {})
    assert records.answers(planned[0].place.run) is None


def test_the_process_ends_itself_also_if_the_search_has_died() -> None:
    code = (
        "import sys\n"
        "from frostline.trainables import _baseline\n"
        "_baseline.SECONDS, sys.argv[1:] = 1, ['signal', 'pause']\n"
        "_baseline.main()"
    )
    assert subprocess.run([sys.executable, "-c", code], input=b"{}").returncode == -signal.SIGALRM


@pytest.mark.parametrize(
    ("most", "texts", "problem"),
    [
        (10.0, ["good film"], "the data are larger than 0 MB"),
        (1e6, ["!?", "..."], "empty vocabulary; perhaps the documents only contain stop words"),
    ],
)
def test_why_it_could_not_be_computed_is_said(
    planned: Planned, monkeypatch: pytest.MonkeyPatch, most: float, texts: list[str], problem: str
) -> None:
    plan, corpus = planned
    monkeypatch.setattr(baselines, "_MOST", most)
    inputs = {split: [texts[i % len(texts)] for i in range(size)] for split, size in corpus.sizes().items()}
    record = computed(plan, dataclasses.replace(corpus, inputs=inputs))
    assert record.problem == f"could not be computed: {problem}"
    assert baselines.scored(plan, corpus, reads_test=True) == record


def test_an_interrupted_search_leaves_no_record_and_no_process(planned: Planned) -> None:
    plan, corpus = planned
    with Baseline(plan, corpus) as baseline:
        baseline.begin()
        while baseline._process is None:
            time.sleep(0.01)
    assert baseline._process.poll() is not None
    assert records.read(plan.place.run) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"name": "x", "seconds": 1}',
        '{"name": "x", "seconds": "1"}',
        '{"name": "x", "seconds": 1, "validation": {"a": "b"}}',
    ],
)
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    assert records.read(tmp_path) is None
    (tmp_path / records.FILE).write_text(text)
    assert records.read(tmp_path) is None
