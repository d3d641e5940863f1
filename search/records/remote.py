"""A run directory at a URL: claimed by one search, held by one process, kept up to date from the working copy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from frostline.search.records import folder as run_folder
from frostline.search.records import log as run_log
from frostline.search.records import trials as trial_records
from frostline.search.records.events import job_of, started_jobs
from frostline.search.records.lease import Lease
from frostline.search.records.log import Log
from frostline.search.records.mirror import RECIPE, Mirror
from frostline.search.records.storage import answer_of, check_url, one_line, open_store
from frostline.search.records.working_copy import Newer, compare, set_aside
from frostline.trainables._storage import StorageError, Store


def locate(url: str, name: str) -> str:
    """The URL of a run directory below another URL.

    Raises:
        ValueError: `name` is not the name of one folder.
    """
    run_folder.check_name(name)
    check_url(f"{url}/{name}", "--name")
    return f"{url}/{name}"


def claim(url: str, run: Path, plan: str) -> None:
    """Write `plan.json` at the URL and into a new working copy. Of several processes that claim it, one succeeds.

    Raises:
        ValueError: a search is there already, or other files, or it cannot be written.
    """
    what, store = f"cannot write {url}", open_store(url, "--storage")
    names = answer_of(store.files, what)
    if "plan.json" in names:
        old = (answer_of(lambda: store.read("plan.json"), what) or b"").decode(errors="replace")
        raise ValueError(run_folder.already_claimed(url, old, plan, finished="summary.json" in names))
    if names:
        raise ValueError(f"{url} is not empty and holds no search: choose another --name")
    try:
        answer_of(lambda: store.write("plan.json", plan.encode(), new=True), what)
    except FileExistsError:
        raise ValueError(f"{url} was taken by another search just now: choose another --name") from None
    set_aside(run)
    run_folder.claim(run, plan)


@contextlib.contextmanager
def hold(url: str, run: Path, command: str, say: Callable[[str], None]) -> Iterator[Log]:
    """Like `log.hold`, for the folder and for the URL. Changes of the working copy are uploaded meanwhile.

    At the end it waits for the last uploads. If some fail, a warning is in the log's `unsent`, or goes to `say` if the
    search ends by an error.

    Args:
        url: of the run directory; empty if it is only a folder.
        run: the folder, or the working copy.
        command: the command line, kept with the session; empty if there was none.
        say: gets the warning.

    Raises:
        ValueError: another process works there, or has done so since the working copy was fetched.
    """
    if not url:
        with run_log.hold(run, command) as log:
            yield log
        return
    store, what = open_store(url, "--resume"), f"cannot write {url}"
    lease = Lease(store)
    answer_of(lease.take, what)
    mirrored = False
    try:
        if compare(store, run, what)[0] is Newer.THERE:
            raise ValueError(f"{url} was written by another process just now: try again")
        with run_log.hold(run, command) as log:
            sent = _sent(store, run, what)
            mirror, mirrored = Mirror(store, run, lease, sent), True
            log.remove, log.news = _remover(mirror, run, sent), mirror.news
            try:
                yield log
            except BaseException:
                if why := mirror.close():
                    say(_unsent(url, run, why))
                raise
            if why := mirror.close():
                log.unsent = _unsent(url, run, why)
    finally:
        if not mirrored:  # the mirror releases the lease itself
            with contextlib.suppress(StorageError):
                lease.release()


def _unsent(url: str, run: Path, why: str) -> str:
    return f"not everything was sent to {url}: {why}; it is kept in {run}; to send it: frostline --resume {url}"


def _remover(mirror: Mirror, run: Path, sent: Mapping[str, int]) -> Callable[[Path], None]:
    """A function that removes a file here and at the URL.

    It sends no request for a file of a training that ended in an earlier session, if the URL does not have the file.
    """
    ended = set[Path]()
    for journal in ("trials.jsonl", "confirm.jsonl"):
        ended |= {run / job_of(trial).folder for trial in trial_records.read(run / journal) if not trial.open}

    def remove(path: Path) -> None:
        run_folder.remove(path)
        if path.parent not in ended or path.relative_to(run).as_posix() in sent:
            mirror.remove(path)

    return remove


def _sent(store: Store, run: Path, what: str) -> dict[str, int]:
    """Sizes of the files at the URL that belong to the search; all other files there are removed."""
    known = {job.folder for job in started_jobs(run)}
    sent = {}
    for name, entry in answer_of(store.files, what).items():
        of_training = name.startswith(("trials/", "confirm/"))
        if name.startswith((".", "best.part/")) or (of_training and name.rpartition("/")[0] not in known):
            with one_line(what):
                store.remove(name)
        else:
            sent[name] = entry.size
    if RECIPE in sent and answer_of(lambda: store.read(RECIPE), what) != _bytes(run / RECIPE):
        del sent[RECIPE]  # the recipe of another winner, perhaps of the same length
    return sent


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
