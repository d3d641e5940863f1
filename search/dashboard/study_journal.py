"""A study's journal as the dashboard reads it: read-only, with the units of parameters and of the metric."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from frostline import spaces
from frostline.search.dashboard.optuna_private import JournalOperation
from frostline.spaces import Metric


class StudyJournal(BaseJournalBackend):
    """The journal of one study, followed as it grows."""

    def __init__(self, path: Path, metric: Metric) -> None:
        """Open the journal.

        Args:
            path: the file.
            metric: metric of the study's values.
        """
        self._path, self._file, self._metric = path, path.open("rb"), metric
        self._rest = b""
        self._logs: list[dict[str, Any]] = []

    @property
    def replaced(self) -> bool:
        """True if another file has taken its place, as when a search is resumed."""
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """The entries from this number on. An unfinished line waits for its end; a damaged one is left out."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._logs += self._translated(json.loads(line))
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refuse, since only the search writes its study.

        Raises:
            PermissionError: always.
        """
        raise PermissionError("the dashboard is read-only")

    def _translated(self, log: dict[str, Any]) -> list[dict[str, Any]]:
        """An entry with units in its names; the entry that creates the study is followed by the study's own notes."""
        operation = log["op_code"]
        if operation == JournalOperation.CREATE_STUDY:
            attribute = {
                "op_code": JournalOperation.SET_STUDY_SYSTEM_ATTR,
                "worker_id": log["worker_id"],
                "study_id": 0,
            }
            return [log, *({**attribute, "system_attr": {key: value}} for key, value in self._attributes().items())]
        if operation == JournalOperation.CREATE_TRIAL:
            renamed: dict[str, Any] = {key: with_units(log[key]) for key in ("params", "distributions") if key in log}
            attributes = log.get("system_attrs", {})
            if "fixed_params" in attributes:
                renamed["system_attrs"] = {**attributes, "fixed_params": with_units(attributes["fixed_params"])}
            return [{**log, **renamed}]
        if operation == JournalOperation.SET_TRIAL_PARAM:
            return [{**log, "param_name": spaces.with_unit(log["param_name"])}]
        return [log]

    def _attributes(self) -> dict[str, Any]:
        """Optuna's attribute with the metric's name, and optuna-dashboard's with the note of a study (Markdown)."""
        metric = self._metric.name_with_unit
        note = (
            f"**Objective value**: validation {metric}, {self._metric.better} is better.\n\n"
            "**Step** of an intermediate value: number of training examples seen (samples). At early rungs the value "
            "comes from a part of the validation examples only.\n\n"
            "[All files of the search](/files). This dashboard is read-only: it refuses changes."
        )
        return {"study:metric_names": [metric], "dashboard:note_ver": 1, "dashboard:note_str:0": note}


def with_units(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by their names with units."""
    return {spaces.with_unit(name): value for name, value in params.items()}
