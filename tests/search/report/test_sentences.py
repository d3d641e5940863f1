"""The findings of a whole run, and that the page and the summary judge its scores alike."""

from __future__ import annotations

from frostline.search.report.analysis import analyse
from frostline.search.report.sentences import evidence_of, sentences
from frostline.search.report.verdict import Evidence, verdict
from frostline.search.report.view import View


def test_the_page_and_the_summary_judge_the_scores_alike(finished: View) -> None:
    assert finished.summary is not None
    assert evidence_of(finished) == Evidence.of_summary(finished.summary)


def test_a_run_has_the_sentences_that_its_records_support(finished: View) -> None:
    lines = sentences(analyse(finished))
    assert lines[0].startswith("On 400 validation examples the winner")
    assert set(verdict(evidence_of(finished))) <= {*lines}
    for part in ("were stopped early", "Another seed of trial", "failed: loss is nan", "did not fit"):
        assert any(part in sentence for sentence in lines), part


def test_a_run_without_trials_has_no_sentence(empty: View) -> None:
    assert sentences(analyse(empty)) == []
