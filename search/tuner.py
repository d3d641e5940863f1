"""Run a planned search: plan -> Tune -> records -> winner. The only module that knows all parts."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.tune
from rich.console import Console

from frostline.search import baseline as baselines
from frostline.search import publish, stop
from frostline.search.baseline import Baseline
from frostline.search.cluster import connection
from frostline.search.console.progress import Progress, say
from frostline.search.ledger.ledger import Ledger
from frostline.search.ledger.rungs import Rungs
from frostline.search.plan.own import family_in
from frostline.search.plan.plan import Plan
from frostline.search.records import baseline as baseline_records
from frostline.search.records import remote
from frostline.search.records.log import Log
from frostline.search.records.trials import Line
from frostline.search.report import summary as summaries
from frostline.search.report.card import model_card
from frostline.search.report.compared import compared, of_summary, sentence
from frostline.search.report.outlook import outlook
from frostline.search.report.references import baseline_row, references
from frostline.search.tracking.tracker import Tracker
from frostline.search.tune.hooks import Asker, Recorder, Stopper
from frostline.search.tune.reaper import Reaper
from frostline.search.tune.switchboard import Follower, RayGone, SearchFailedError, Switchboard
from frostline.search.tune.trial import run_trial
from frostline.trainables import _atomic
from frostline.trainables._errors import first_line
from frostline.trainables._family import load
from frostline.trainables._task import ModelSetup, Setup, WeightsLostError
from frostline.trainables.data.corpus import Corpus

_RESTARTS = 3
"""How often a private Ray that dies is started again in one session."""


def run(plan: Plan, corpus: Corpus, console: Console, command: str = "", began: float | None = None) -> dict[str, Any]:
    """Run a planned search in its claimed run directory, or go on with it, until it ends or Ctrl-C.

    Args:
        plan: plan of the search.
        corpus: its data.
        console: where progress is shown.
        command: the command that was typed, for the record; empty if there was none.
        began: when the session began, by `time.monotonic`; None for now.

    Returns:
        The summary, as written to `summary.json`.

    Raises:
        ValueError: another process works in the run directory.
        TakenOverError: another process has begun to, at its URL.
        OSError: the disk is full. All records are whole, and the search can go on.
        ClusterLostError: the cluster has gone, or a private one keeps dying. All records are whole.
    """
    with remote.hold(plan.place.url, plan.place.run, command, partial(say, console)) as log:
        if began is not None:
            log.count_from(began)
        _atomic.write(plan.place.run / "plan.json", plan.to_json())
        setup = setup_of(plan, corpus)
        with Tracker(plan, console) as tracker, Baseline(plan, corpus) as baseline:
            summary = _run(plan, corpus, setup, log, console, tracker, baseline)
    return {**summary, "unsent": log.unsent} if log.unsent else summary


def setup_of(plan: Plan, corpus: Corpus) -> Setup:
    """What all trials of a search share, with the data prepared for each model."""
    family = load(plan.search.base.family)
    return Setup(
        models={
            name: ModelSetup(
                entry=str(family.prepare(family.model_folder(name), plan.search.base.data, corpus)),
                weights=model.weights,
                boundaries=model.prefix.kept,
                first_only=model.prefix.first_only,
                pooled=model.prefix.pooled,
                evaluated=model.speed.evaluated if model.speed else 0.0,
            )
            for name, model in plan.search.models.items()
        },
        classes=plan.data.classes,
        run=str(plan.place.run),
        url=plan.place.url,
        report_at=plan.schedule.report_at,
        validate_on=plan.schedule.validate_on,
        metric=plan.search.metric,
        metric_code=plan.search.metric_code,
        device=plan.resources.device,
        threads=plan.resources.threads,
        gpu_share=plan.resources.need.gpus,
        checkpoint_every=plan.resources.checkpoint_every,
        nodes_may_go=plan.place.address is not None,
        cache_limit=plan.resources.cache_limit,
        workers=plan.resources.need.workers,
    )


def _run(
    plan: Plan, corpus: Corpus, setup: Setup, log: Log, console: Console, tracker: Tracker, baseline: Baseline
) -> dict[str, Any]:
    interrupted, failure, restarts = False, "", 0
    while True:
        ledger = Ledger(plan, log, tidies_later=True)
        try:
            if not (ledger.finished and _is_published(plan, ledger)):  # else nothing is left to do
                tracker.start()
                baseline.begin()
                _work(plan, corpus, setup, ledger, console, tracker, baseline)
        except KeyboardInterrupt:
            interrupted = True
        except SearchFailedError as error:
            failure = str(error)
        except connection.ClusterLostError as error:
            restarts += 1
            if plan.place.address or restarts > _RESTARTS:  # a cluster is not ours to start
                raise
            say(console, f"Ray has died ({error}); it is started again, and the trials go on.")
            continue
        finally:
            ledger.close()
        _clear_up(plan)
        summary = {**_summary(plan, corpus, ledger, interrupted, failure), "wandb": tracker.link}
        _tell_result(plan, ledger, summary, tracker)
        _atomic.write(plan.place.run / "summary.json", summaries.dump(summary) + "\n")
        if interrupted:
            _export_so_far(plan, summary, setup, ledger, console)
        _write_page(plan, console)
        return summary


def _tell_result(plan: Plan, ledger: Ledger, summary: Mapping[str, Any], tracker: Tracker) -> None:
    """Tell the tracker the result, once the model and its test score are known."""
    won = ledger.conclusions.winner()
    if won is None:
        return
    if summary["test"]:
        tracker.conclude(won[0], summary["test"], sentence(of_summary(summary)))
    if plan.wandb.artifact and publish.is_of(plan, won[0]):
        tracker.publish(won[0], plan.place.run / "best")


def _write_page(plan: Plan, console: Console) -> None:
    """Write report.html. An error in drawing it does not lose the result.

    Raises:
        OSError: the disk is full.
    """
    from frostline.search.report import page  # plotly is not needed before

    try:
        page.write(plan.place.run)
    except OSError:
        raise
    except Exception as error:
        say(console, f"report.html could not be made: {error}; the result is in summary.json.")


def _work(
    plan: Plan,
    corpus: Corpus,
    setup: Setup,
    ledger: Ledger,
    console: Console,
    tracker: Tracker,
    baseline: Baseline,
) -> None:
    advice = f"Nothing is lost. Continue with: frostline --resume {plan.place}"
    try:
        with connection.connect(plan.place.address, advice=advice):
            _search(plan, setup, ledger, console, tracker)
            if not publish.is_done_here(plan):
                _publish(plan, corpus, setup, ledger, console, baseline)
        if publish.is_done_here(plan):  # Ray has ended, and cannot end this
            _publish(plan, corpus, setup, ledger, console, baseline)
    except WeightsLostError as error:
        cause = getattr(error, "cause", error)  # a node's error comes inside one of Ray's
        raise SearchFailedError(f"{first_line(cause)}; --retrain {plan.place} trains the winner again") from error
    except ValueError as error:  # every mistake of a user was reported by the planning
        raise RuntimeError(f"a bug, not your mistake: {error}") from error


def _summary(plan: Plan, corpus: Corpus, ledger: Ledger, interrupted: bool, failure: str) -> dict[str, Any]:
    family, metric = family_in(plan), plan.search.metric
    won = ledger.conclusions.winner()
    record = baselines.scored(plan, corpus, reads_test=bool(ledger.conclusions.test_reads()))
    longer = outlook(plan, [*ledger.trials, *ledger.confirmations], max(1, plan.budget.epochs))
    trained = compared(record, ledger.conclusions.test_of(won[1]) if won else None, metric, longer)
    rows = [baseline_row(baseline, metric) for baseline in family.baselines(corpus)]
    rows += [trained.row] if trained and not trained.problem else []
    rows += references(ledger.trials, metric)
    return summaries.summary(plan, family, ledger, rows, interrupted, failure, trained)


def _is_published(plan: Plan, ledger: Ledger) -> bool:
    won = ledger.conclusions.winner()
    return won is None or (ledger.conclusions.test_of(won[1]) is not None and publish.is_of(plan, won[0]))


def _publish(plan: Plan, corpus: Corpus, setup: Setup, ledger: Ledger, console: Console, baseline: Baseline) -> None:
    """Export the winner and read the test set with it, unless both have been done."""
    won = ledger.conclusions.winner()
    if won is None or _is_published(plan, ledger):
        return
    best, folder = won
    known = ledger.conclusions.test_of(folder)
    what = f"trial {best.number}" + (f", seed {best.seed}" if best.confirms else "")
    doing = "Exporting" if known else f"Reading the test set ({plan.data.sizes['test']} examples) with"
    baseline.wait()
    console.print(f"{doing} {what}.")
    measured = publish.finish(plan, best, folder, setup, baseline=baseline_records.answers(plan.place.run))
    if known is None:
        ledger.conclusions.add_test(best, folder, measured)
    summary = _summary(plan, corpus, ledger, interrupted=False, failure="")
    card = model_card(summary, plan, load(plan.search.base.family))
    publish.publish(plan, best, card)


def _export_so_far(plan: Plan, summary: Mapping[str, Any], setup: Setup, ledger: Ledger, console: Console) -> None:
    """Export the best training of an interrupted search, if that needs no other machine. The test set is not read.

    A model whose test score was read stays. An error does not lose the results.
    """
    won = ledger.conclusions.winner()
    if won is None or ledger.conclusions.test_reads() or publish.is_of(plan, won[0]) or not publish.is_done_here(plan):
        return
    try:
        publish.finish(plan, *won, setup, reads_test=False)
        publish.publish(plan, won[0], model_card(summary, plan, load(plan.search.base.family)))
    except Exception as error:
        say(console, f"The best model so far could not be exported: {first_line(error)}; --resume tries again.")


def export(plan: Plan, corpus: Corpus, console: Console) -> Path:
    """Export the best training of a search that has been broken off; nothing is trained, and no test set is read.

    Args:
        plan: of the search, by which it would go on.
        corpus: its data.
        console: where problems are told.

    Returns:
        The folder of the model.

    Raises:
        ValueError: no training has a score, its weights are lost, or another process works in the run directory.
        OSError: the disk is full.
    """
    with remote.hold(plan.place.url, plan.place.run, "", partial(say, console)) as log, contextlib.ExitStack() as stack:
        ledger = Ledger(plan, log)
        stack.callback(ledger.close)
        won = ledger.conclusions.winner()
        if won is None:
            raise ValueError(f"no training in {plan.place} has a score yet")
        if not publish.is_of(plan, won[0]):
            if not publish.is_done_here(plan):
                stack.enter_context(connection.connect(plan.place.address))
            try:
                publish.finish(plan, *won, setup_of(plan, corpus), reads_test=False)
            except WeightsLostError as error:
                raise ValueError(f"{first_line(error)}; --retrain {plan.place} trains the winner again") from error
            card = model_card(_summary(plan, corpus, ledger, True, ""), plan, load(plan.search.base.family))
            publish.publish(plan, won[0], card)
    return plan.place.run / "best"


def _search(plan: Plan, setup: Setup, ledger: Ledger, console: Console, tracker: Tracker) -> None:
    """Run all trainings through Tune.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM. Every trial has an end in the study and in `trials.jsonl`.
        SearchFailedError: all trials fail.
        ClusterLostError: Ray has gone.
        OSError: the disk is full.
    """
    rungs = Rungs(plan)
    stopped = rungs.replay(ledger.trials)
    with (
        stop.requests() as signals,
        _tune_folder(plan) as folder,
        Progress(plan, console, [*ledger.trials, *ledger.confirmations], used=ledger.seconds) as progress,
    ):
        followers: list[Follower] = [progress, tracker]
        _tell_ends(followers, ledger.settle(stopped))
        if ledger.finished:
            return
        board = Switchboard(ledger, rungs, followers, signals)
        tuner = ray.tune.Tuner(
            ray.tune.with_resources(run_trial, ray.tune.PlacementGroupFactory([plan.resources.need.slot])),
            param_space={
                "setup": dataclasses.asdict(setup),
                "bundle": plan.resources.need.bundle,
                "storage": str(folder / "tune"),
            },
            tune_config=ray.tune.TuneConfig(
                search_alg=Asker(board),
                scheduler=Stopper(board),
                num_samples=-1,  # the ledger decides when it ends, and the asker how many run at once
                reuse_actors=True,
            ),
            run_config=ray.tune.RunConfig(
                name="tune", storage_path=str(folder), callbacks=[Recorder(board)], verbose=0
            ),
        )
        try:
            tuner.fit()
        except RayGone as gone:
            raise gone.__cause__ or gone from None
        except (KeyboardInterrupt, SearchFailedError):
            _tell_ends(followers, ledger.abandon())
            raise
        finally:
            board.watch.release()
        if plan.resources.need.workers > 1:
            _clear_up(plan)
        if board.error is not None:  # in Tune's very last step
            raise board.error


def _clear_up(plan: Plan) -> None:
    """Free the resources of the slots, if Ray goes on after the search.

    An interrupted search leaves Tune's handles on its actors in reference cycles, which would keep its CPUs.
    """
    gc.collect()
    if plan.resources.need.workers > 1 and ray.is_initialized():
        Reaper().close()


def _tell_ends(followers: Sequence[Follower], lines: Sequence[Line]) -> None:
    for line in lines:
        for follower in followers:
            follower.end(line)


@contextmanager
def _tune_folder(plan: Plan) -> Iterator[Path]:
    """Folder of Tune's own records, which repeat ours and are thrown away.

    On a cluster all nodes must see it, so it is in the run directory. On one machine it is elsewhere, so that our own
    writes meet a full disk first, at a point where nothing is half written. If nodes share only a URL, each node has
    this folder for itself: Tune would share checkpoints there, and there are none.
    """
    if not plan.place.address or plan.place.url:
        with connection.scratch() as folder:
            yield folder
        return
    try:
        yield plan.place.run
    finally:
        shutil.rmtree(plan.place.run / "tune", ignore_errors=True)
