"""Pure decisions of the ledger."""

import pytest

from frostline.search.ledger import rules
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Outcome, Trial
from tests.search.made import line, trial

_FAST = trial(0, Outcome.FAILED, reason="no such file")
_SLOW = trial(1, Outcome.FAILED, 0.5, reason="loss is nan")
_GOOD = trial(2, Outcome.COMPLETE, 0.5)
_TOO_BIG = trial(3, Outcome.INFEASIBLE, reason="out of memory")
_STOPPED = trial(4, Outcome.INTERRUPTED)
_LATE = trial(5, Outcome.OUT_OF_TIME)


@pytest.mark.parametrize(
    ("ended", "why"),
    [
        ([], None),
        ([_FAST] * 4, None),
        ([_FAST] * 5, "no such file"),
        ([_FAST] * 9, "no such file"),
        ([_GOOD, *[_FAST] * 5], "no such file"),
        ([_FAST, _FAST, _GOOD, _FAST, _FAST, _FAST], None),
        ([*[_FAST] * 4, _GOOD], None),
        ([*[_FAST] * 4, _SLOW], None),  # it had reported: the recipe's own failure
        ([_TOO_BIG] * 5, "out of memory"),
        ([_GOOD, *[_TOO_BIG] * 5], None),
        ([_GOOD, *[_FAST, _TOO_BIG] * 4], None),
        ([_GOOD, *[_FAST, _TOO_BIG] * 5], "no such file"),  # those that did not fit are looked through
        ([_STOPPED] * 5, None),
        ([_LATE] * 5, None),
        ([*[_FAST] * 4, _STOPPED], None),
        ([*[_FAST] * 4, _LATE], None),
    ],
)
def test_a_search_is_hopeless_after_five_fast_failures_in_a_row(ended: list[Trial], why: str | None) -> None:
    assert rules.hopeless(ended) == why


def test_a_smaller_micro_batch_is_remembered_by_device() -> None:
    def ran(number: int, *micro: int, device: str = "A100", batch: int = 32) -> Trial:
        params = {"batch_size": batch}
        lines = [line(number, Outcome.RUNNING, 0.5, params=params, micro_batch=m, device=device) for m in micro]
        return trial_records.collect(lines)[0]

    trials = [
        ran(0, 32),  # fitted whole
        ran(1, 16, 8),
        ran(2, 16),
        ran(3, 4, device="T4"),
        ran(4, 0),  # from before the first report
        ran(5, 2, batch=2),  # its whole batch
    ]
    assert rules.fitting_micro_batches(trials) == {"A100": 8, "T4": 4}
    assert rules.fitting_micro_batches([]) == {}
    known: dict[str, int] = {}
    for each in trials:
        known = rules.fitting_micro_batches([each], known)
    assert known == rules.fitting_micro_batches(trials), "one after another"
