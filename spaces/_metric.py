"""A metric: its name, its direction and its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A number that a family reports of a model. Decisions read its objective, people read its value."""

    name: str
    """The key of its value in a report."""
    better: Literal["higher", "lower"] = "higher"
    """The direction in which a model improves."""
    unit: str = ""
    """Unit or range of the value; empty if it has none."""
    is_share: bool = False
    """True if the value is the mean of right (1) and wrong (0) answers, so that it may be shown in percentage points
    and its standard error is that of a binomial share."""
    may_be_undefined: bool = False
    """True if some slices have no value: a ROC AUC where all examples are of one class. The value is then NaN."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a metric needs a name")
        if self.better not in ("higher", "lower"):
            raise ValueError(f"metric {self.name!r}: better is 'higher' or 'lower', got {self.better!r}")
        if self.is_share and self.better != "higher":
            raise ValueError(f"metric {self.name!r} is a share of right answers, so higher must be better")

    @property
    def name_with_unit(self) -> str:
        """The name, with its unit if it has one: `loss (nats an example)`."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def goal(self) -> Literal["maximize", "minimize"]:
        """The direction as Optuna and W&B name it."""
        return "maximize" if self.better == "higher" else "minimize"

    def objective(self, value: float) -> float:
        """The value turned so that larger is better."""
        return value if self.better == "higher" else -value

    def value(self, objective: float) -> float:
        """The value that has this objective; the inverse of `objective`."""
        return objective if self.better == "higher" else -objective
