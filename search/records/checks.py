"""Checks of the values in the records of a run directory, which may come from anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

_MOST = 2**63
"""Bound of a count."""

_LONGEST = 3e9
"""Bound of a duration in seconds: a hundred years."""

_LAST = 2.5e11
"""Bound of a time in seconds since 1970: the calendar ends with the year 9999."""


def check_counts(*values: Any) -> None:
    """Refuse counts that are no whole numbers.

    Raises:
        ValueError: one is not.
    """
    if not all(type(value) is int and 0 <= value < _MOST for value in values):
        raise ValueError("a count is no whole number")


def check_duration(value: Any) -> None:
    """Refuse a duration that is no number. It is below 0 in an earlier version's record, where a clock was set back.

    Raises:
        ValueError: it is not.
    """
    if not (_is_number(value) and abs(value) < _LONGEST):
        raise ValueError("a time is no number of seconds")


def check_seconds(*values: Any) -> None:
    """Refuse times and durations that are no numbers or that no calendar has.

    Raises:
        ValueError: one is.
    """
    if not all(_is_number(value) and 0 <= value < _LAST for value in values):
        raise ValueError("a time is no number of seconds")


def check_metrics(values: Any) -> None:
    """Refuse measurements that are no numbers. They need not be finite.

    Raises:
        ValueError: one is.
    """
    if not (isinstance(values, dict) and all(map(_is_number, values.values()))):
        raise ValueError("a measurement is no number")


def check_params(params: Any) -> None:
    """Refuse parameters that no recipe has: their values are finite numbers, texts, true, false or null.

    Raises:
        ValueError: one is not.
    """
    values: Iterable[Any] = params.values() if isinstance(params, dict) else [params]
    plain = (value for value in values if not isinstance(value, str | bool | None))
    if not isinstance(params, dict) or not all(_is_number(value) and math.isfinite(value) for value in plain):
        raise ValueError("a parameter is no number and no text")


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (type(value) is int and abs(value) < _MOST)
