"""The lines and the live view of a search that follows its trials."""

import dataclasses
import io
from collections.abc import Callable

import pytest
from rich.console import Console

from frostline.search.console.progress import Progress
from frostline.search.plan.plan import Plan
from frostline.search.records.trials import Outcome, Trial
from frostline.spaces import Metric
from tests.search.altered import altered
from tests.search.made import PARAMS, job, line, trial, with_budget

RECIPE = "learning_rate 0.000125, batch_size 8, frozen_layers 3, weight_decay 0.00866"
GOOD = {"accuracy": 0.8125, "loss": 0.4}


def follow(progress: Progress) -> None:
    progress.begin(job(0, label="default"))
    progress.report(line(0, Outcome.RUNNING, 0.8125, label="default", metrics=GOOD))
    progress.end(line(0, Outcome.PRUNED, 0.8125, label="default", metrics=GOOD))
    progress.begin(job(1))
    progress.report(line(1, Outcome.RUNNING, 0.55, metrics={"accuracy": 0.55, "loss": 0.6}))
    progress.end(line(1, Outcome.FAILED, reason="loss is nan at step 3, learning rate 0.001"))
    progress.begin(job(2))
    progress.report(line(2, Outcome.RUNNING, 0.5, metrics={"accuracy": 0.5, "loss": 0.7}))


def printed(plan: Plan, happens: Callable[[Progress], None], known: list[Trial] | tuple[()] = ()) -> list[str]:
    """The lines that a search prints without a terminal, without their times."""
    text = io.StringIO()
    with Progress(plan, Console(file=text, width=500), known) as progress:
        happens(progress)
    assert "\x1b" not in text.getvalue()
    return [part.split("] ", 1)[1] for part in text.getvalue().splitlines()]


def shown(progress: Progress, width: int) -> str:
    """The live view."""
    console = Console(file=io.StringIO(), width=width)
    console.print(progress._screen())
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_without_a_terminal_each_event_is_one_plain_line(plan: Plan) -> None:
    assert printed(plan, follow) == [
        f"trial 0 starts: default: {RECIPE}",
        "trial 0 epoch 1.00: accuracy 0.8125, loss 0.4000, 12 s",
        "trial 0 stopped early: 1 of 12 done, best 0.8125 by trial 0",
        f"trial 1 starts: {RECIPE}",
        "trial 1 epoch 1.00: accuracy 0.5500, loss 0.6000, 12 s",
        "trial 1 failed (loss is nan at step 3, learning rate 0.001): 2 of 12 done, best 0.8125 by trial 0",
        f"trial 2 starts: {RECIPE}",
        "trial 2 epoch 1.00: accuracy 0.5000, loss 0.7000, 12 s",
    ]


def test_a_trial_that_lost_its_process_is_reported_to_go_on(plan: Plan) -> None:
    def happens(progress: Progress) -> None:
        progress.begin(job(0, label="default"))
        progress.lose(job(0), "its process died")
        progress.begin(job(0, label="default"))
        progress.report(line(0, Outcome.RUNNING, 0.75))
        progress.lose(job(0), "its process died")
        progress.begin(job(0, label="default"))
        progress.end(line(0, Outcome.FAILED, 0.75, reason="its process died (3 times)"))

    assert printed(plan, happens) == [
        f"trial 0 starts: default: {RECIPE}",
        "trial 0: its process died; it goes on from its last snapshot",
        f"trial 0 starts: default: {RECIPE}",
        "trial 0 epoch 1.00: accuracy 0.7500, loss 0.2500, 12 s",
        "trial 0: its process died; it goes on from its last snapshot",
        f"trial 0 goes on after epoch 1.00: default: {RECIPE}",
        "trial 0 failed (its process died (3 times)): 1 of 12 done, no score yet",
    ]


def test_a_report_of_classes_far_out_of_balance_has_macro_f1_beside_accuracy(plan: Plan) -> None:
    def happens(progress: Progress) -> None:
        progress.begin(job(0))
        given = {"accuracy": 0.98, "macro_f1": 0.495, "loss": 0.1}
        progress.report(dataclasses.replace(line(0, Outcome.RUNNING, 0.98), metrics=given))

    expected = "trial 0 epoch 1.00: accuracy 0.9800, macro_f1 0.4950, loss 0.1000, 12 s"
    assert expected in printed(altered(plan, imbalance=49.0), happens)


def confirm(progress: Progress) -> None:
    progress.begin(job(0, 1))
    progress.report(line(0, Outcome.RUNNING, 0.7, seed=1))
    progress.end(line(0, Outcome.COMPLETE, 0.6, seed=1))
    progress.begin(job(0, 2))
    progress.lose(job(0, 2), "its process died")
    progress.begin(job(0, 2))
    progress.report(line(0, Outcome.RUNNING, 0.65, seed=2))


def test_the_trainings_that_confirm_a_recipe_are_named_by_their_seeds(plan: Plan) -> None:
    assert printed(plan, confirm, [trial(0, Outcome.COMPLETE, 0.8)]) == [
        f"trial 0 seed 1 starts: {RECIPE}",
        "trial 0 seed 1 epoch 1.00: accuracy 0.7000, loss 0.3000, 12 s",
        "trial 0 seed 1 complete: 0.7000",
        f"trial 0 seed 2 starts: {RECIPE}",
        "trial 0 seed 2: its process died; it goes on from its last snapshot",
        f"trial 0 seed 2 starts: {RECIPE}",
        "trial 0 seed 2 epoch 1.00: accuracy 0.6500, loss 0.3500, 12 s",
    ]


def test_trials_of_an_earlier_session_count_and_open_ones_go_on(plan: Plan) -> None:
    known = [
        trial(0, Outcome.COMPLETE, 0.7, 0.9),
        trial(1, Outcome.FAILED, reason="loss is nan"),
        trial(2, Outcome.INTERRUPTED, 0.6),
        trial(3, Outcome.RUNNING, 0.5),
        trial(4, Outcome.INTERRUPTED),
    ]

    def happens(progress: Progress) -> None:
        for number in (2, 3, 4):
            progress.begin(job(number))
        progress.report(line(2, Outcome.RUNNING, 0.95, epoch=2.0))
        progress.end(line(2, Outcome.COMPLETE, 0.95))
        progress.end(line(3, Outcome.PRUNED, 0.5))

    assert printed(plan, happens, known) == [
        f"trial 2 goes on after epoch 1.00: {RECIPE}",
        f"trial 3 goes on after epoch 1.00: {RECIPE}",
        f"trial 4 starts: {RECIPE}",
        "trial 2 epoch 2.00: accuracy 0.9500, loss 0.0500, 12 s",
        "trial 2 complete: 3 of 12 done, best 0.9500 by trial 2",
        "trial 3 stopped early: 4 of 12 done, best 0.9500 by trial 2",
    ]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_on_a_terminal_the_table_has_the_same_content(plan: Plan, width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with Progress(altered(plan, rungs=(1.0,)), console) as progress:
        follow(progress)
        table = shown(progress, width)
    assert "2 of 12 trials done, 1 running, 9 to come" in table
    for part in ("accuracy", "time", "running", "0.5000", "stopped early", "0.8125", "3 reached, 1 stopped, 1 passed"):
        assert part in table, part
    assert f"best accuracy 0.8125 by trial 0: {RECIPE}" in " ".join(table.split())
    assert "trial 1 failed (loss is nan at step 3, learning rate 0.001)" in table
    assert table.count("failed") == 1, "a failed trial is not among the best"
    assert "confirming" not in table


def test_the_table_shows_the_confirmation(plan: Plan) -> None:
    known = [trial(number, Outcome.COMPLETE, 0.8) for number in range(12)]
    with Progress(plan, Console(file=io.StringIO()), known) as progress:
        confirm(progress)
        table = shown(progress, 200)
    assert "12 of 12 trials done, 0 running, 0 to come" in table
    assert "confirming the best: 1 done, 1 running" in table
    assert "seed 2" in table
    assert "0.6500" in table


def test_a_trial_that_lost_its_process_is_not_shown_as_running(plan: Plan) -> None:
    with Progress(plan, Console(file=io.StringIO())) as progress:
        progress.begin(job(0, label="default"))
        progress.lose(job(0), "its process died")
        assert "0 of 12 trials done, 0 running, 12 to come" in shown(progress, 200)
        progress.begin(job(0, label="default"))
        assert "0 of 12 trials done, 1 running, 11 to come" in shown(progress, 200)


def test_a_budget_without_a_number_of_trials_says_how_many_are_done(plan: Plan) -> None:
    timed = with_budget(plan, trials=None, seconds=60.0)
    lines = printed(timed, follow)
    assert lines[2] == "trial 0 stopped early: 1 done, best 0.8125 by trial 0"
    with Progress(timed, Console(file=io.StringIO())) as progress:
        follow(progress)
        table = shown(progress, 200)
    assert "2 trials done, 1 running\n" in "\n".join(part.rstrip() for part in table.splitlines())
    assert "None" not in table + "".join(lines)


def test_a_budget_without_rungs_is_shown_too(plan: Plan) -> None:
    text = io.StringIO()
    with Progress(altered(plan, rungs=()), Console(file=text)) as progress:
        follow(progress)
        assert progress._screen()


def test_a_confirmation_of_an_earlier_session_goes_on_and_counts_apart(plan: Plan) -> None:
    broken_off = trial(0, Outcome.INTERRUPTED, 0.7, seed=2)
    known = [trial(0, Outcome.COMPLETE, 0.8), trial(0, Outcome.COMPLETE, 0.7, seed=1), broken_off]

    def happens(progress: Progress) -> None:
        progress.begin(job(0, 2))
        progress.end(line(1, Outcome.COMPLETE, 0.5))

    lines = printed(plan, happens, known)
    assert lines[0].startswith("trial 0 seed 2 goes on after epoch 1.00")
    assert lines[1] == "trial 1 complete: 2 of 12 done, best 0.8000 by trial 0"


def test_a_node_that_cannot_keep_frozen_outputs_is_reported_once(plan: Plan) -> None:
    """Without this line nobody would know why the search takes several times as long."""
    (name, model) = next(iter(plan.search.models.items()))
    kept = dataclasses.replace(model.prefix, kept=(PARAMS["frozen_layers"],))
    keeping = altered(plan, models={name: dataclasses.replace(model, prefix=kept)})

    def happens(progress: Progress) -> None:
        for node, cached in (("a", PARAMS["frozen_layers"]), ("b", 0), ("b", 0)):
            progress.report(line(0, Outcome.RUNNING, 0.8125, metrics=GOOD, node=node, cached_layers=cached))

    notes = [text for text in printed(keeping, happens) if "keeps no outputs" in text]
    assert notes == [
        "b keeps no outputs of frozen blocks: its cache folder has reached its limit or cannot be written. Every "
        "trial computes these outputs again"
    ]
    assert not [text for text in printed(plan, happens) if "keeps no outputs" in text]


def test_a_quiet_console_prints_only_problems(plan: Plan) -> None:
    text = io.StringIO()
    with Progress(plan, Console(file=text, width=500, quiet=True)) as progress:
        follow(progress)
        progress.lose(job(2), "its process died")
        progress.end(line(2, Outcome.INTERRUPTED, 0.5))
    assert [part.split("] ", 1)[1] for part in text.getvalue().splitlines()] == [
        "trial 1 failed (loss is nan at step 3, learning rate 0.001): 2 of 12 done, best 0.8125 by trial 0",
        "trial 2: its process died; it goes on from its last snapshot",
    ]


def test_on_a_terminal_the_problems_stay_when_the_live_view_ends(plan: Plan) -> None:
    text = io.StringIO()
    console = Console(file=text, width=200, force_terminal=True, color_system=None)
    with Progress(plan, console) as progress:
        follow(progress)
        text.seek(0)
        text.truncate()
    left = text.getvalue().split("\x1b[2K")[-1]
    assert left.count("trial 1 failed (loss is nan at step 3, learning rate 0.001)") == 1
    assert "trial 0" not in left.replace("by trial 0", "")


def test_there_is_no_estimate_before_the_first_report(plan: Plan) -> None:
    with Progress(plan, Console(file=io.StringIO())) as progress:
        progress.begin(job(0, label="default"))
        assert "to go" not in shown(progress, 80)
        assert "time: " not in shown(progress, 80)
        progress.report(line(0, Outcome.RUNNING, 0.5, spent={"training": 3.0, "evaluation": 1.0, "data": 0.0}))
        assert "about" in shown(progress, 80)
        assert "time: training 75 %, evaluation 25 %, data 0 %, idle 0 %" in shown(progress, 80)


def test_the_time_to_go_counts_running_and_coming_trials_and_the_confirmation(plan: Plan) -> None:
    """12 s an epoch; of 12 trials 1 is done; a race of 3 recipes takes 4 trainings, 9 at most; 2 slots."""
    plan = with_budget(plan, slots=2, confirm_seeds=3)
    budget = plan.budget
    with Progress(plan, Console(file=io.StringIO())) as progress:
        progress.begin(job(0))
        progress.report(line(0, Outcome.RUNNING, 0.5))
        progress.end(line(0, Outcome.PRUNED, 0.5))
        left = progress._seconds_left([], progress._started)
    trials, confirming = 11 * budget.epochs * 12.0, 4 * budget.epochs * 12.0
    assert left == pytest.approx((trials + confirming) / 2)


@pytest.mark.parametrize("trials", [12, None])
def test_a_time_budget_says_when_the_search_ends(plan: Plan, trials: int | None) -> None:
    timed = with_budget(plan, trials=trials, seconds=100.0, confirm_recipes=0)
    with Progress(timed, Console(file=io.StringIO()), used=30.0) as progress:
        progress.begin(job(0))
        progress.report(line(0, Outcome.RUNNING, 0.5, seconds=1200.0))
        assert progress._seconds_left([], progress._started) == pytest.approx(70.0)


def test_if_less_is_better_the_smallest_value_is_the_best_and_is_printed_once(plan: Plan) -> None:
    lower = altered(plan, metric=Metric(name="loss", better="lower"))

    def happens(progress: Progress) -> None:
        for number, loss in enumerate((0.4, 0.3, 0.5)):  # accuracy would choose the last one
            fields = {"metrics": {"loss": loss, "accuracy": loss}, "objective": -loss}
            progress.begin(job(number))
            progress.report(line(number, Outcome.RUNNING, **fields))
            progress.end(line(number, Outcome.COMPLETE, **fields))

    lines = printed(lower, happens)
    assert [text for text in lines if "starts" not in text] == [
        "trial 0 epoch 1.00: loss 0.4000, 12 s",
        "trial 0 complete: 1 of 12 done, best 0.4000 by trial 0",
        "trial 1 epoch 1.00: loss 0.3000, 12 s",
        "trial 1 complete: 2 of 12 done, best 0.3000 by trial 1",
        "trial 2 epoch 1.00: loss 0.5000, 12 s",
        "trial 2 complete: 3 of 12 done, best 0.3000 by trial 1",
    ]
    with Progress(lower, Console(file=io.StringIO())) as progress:
        happens(progress)
        table = shown(progress, 200)
    assert "best loss 0.3000 by trial 1" in table
    assert "-0." not in table
    rows = [text for text in table.splitlines() if "complete" in text]
    assert [row for row in rows if "0.3000" in row] == rows[:1], "the best is the first row"
