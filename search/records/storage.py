"""Storage at a URL that a user has named: opened, tried out, asked within a time limit; its errors become one line."""

from __future__ import annotations

import contextlib
import importlib.util
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from frostline.search.records.folder import check_name
from frostline.trainables._storage import StorageError, Store

_T = TypeVar("_T")

_LIMIT = 10.0
"""Seconds within which storage has to answer before a search starts."""

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}
"""Protocol -> its package, for the protocols in most use; fsspec knows more."""


def open_store(url: str, option: str) -> Store:
    """The storage at a URL. No request is sent yet.

    Raises:
        ValueError: there is no such protocol, or its package is not installed; the message begins with `option`.
    """
    protocol, _, _ = url.partition("://")
    check_url(url, option)
    try:
        return answer_of(lambda: Store(url), f"{option} {url}")  # some protocols connect at once
    except ImportError:
        package = _PACKAGES.get(protocol, f"fsspec's package for {protocol}")
        raise ValueError(f"{option} {url} needs one more package: pip install {package}") from None
    except Exception as error:  # each protocol has types of its own
        text = str(error)
        if isinstance(error, ValueError) and text.startswith(f"{option} {url}"):
            raise
        if "Protocol not known" not in text:
            raise ValueError(
                f"{option} {url}: a search cannot use {protocol}: {text or type(error).__name__}"
            ) from None
        installed = sorted(name for name, package in _PACKAGES.items() if importlib.util.find_spec(package))
        raise ValueError(
            f"{option} {url}: {protocol} is not a kind of storage; there are folders and {', '.join(installed)}"
        ) from None


def check_url(url: str, option: str) -> None:
    """Refuse a URL that does not lead to one folder: its last name becomes a folder of this machine too.

    Raises:
        ValueError: it does not; the message begins with `option`.
    """
    protocol, _, rest = url.partition("://")
    bucket, *names = rest.split("/")
    if not rest.strip("/") or (not bucket and protocol in _PACKAGES):
        raise ValueError(f"{option} {url}: the name of a bucket is missing")
    if "?" in rest:
        raise ValueError(f"{option} {url}: a query (? and what follows) has no meaning there")
    for name in names:
        check_name(name, f"{option} {url}: each part")


def check(url: str) -> None:
    """Check that a search can keep its run directory below a URL.

    Raises:
        ValueError: it cannot, and why: no such protocol, bucket, permission, credentials, or no answer within 10 s.
    """
    if url.startswith("memory://"):
        raise ValueError(f"--storage {url}: other processes cannot see the memory of this one")
    answer_of(open_store(url, "--storage").try_out, f"--storage {url}")


def answer_of(request: Callable[[], _T], what: str) -> _T:
    """What a request to the storage returns.

    Raises:
        ValueError: the storage does not answer within 10 s, or refuses; the message begins with `what`.
    """
    answers: list[_T] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(request())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_LIMIT)
    if errors:
        with one_line(what):
            raise errors[0]
    if not answers:
        raise ValueError(f"{what}: no answer within {_LIMIT:.0f} s")
    return answers[0]


@contextlib.contextmanager
def one_line(what: str) -> Iterator[None]:
    """Turn a `StorageError` into a `ValueError` for the user; the message begins with `what`."""
    try:
        yield
    except StorageError as error:
        raise ValueError(f"{what}: {error}") from error
