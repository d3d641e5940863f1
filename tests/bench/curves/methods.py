"""The methods that can be replayed, by name.

A method's module is imported when it is used: some need a library that lies in an environment of its own. A method is
added by a line of `METHODS`.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

from tests.bench.curves.replay import Making


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """Where a method is."""

    module: str
    """In this package."""
    function: str
    """Its `Making`."""
    needs: str = "optuna"
    """The library that it drives, as it is imported."""

    def missing(self) -> str:
        """The library, if it is not installed here, else nothing."""
        return self.needs if importlib.util.find_spec(self.needs) is None else ""

    def making(self) -> Making:
        """The function that makes it."""
        making: Making = getattr(importlib.import_module(f"tests.bench.curves.{self.module}"), self.function)
        return making


def _all(module: str, needs: str, **functions: str) -> dict[str, Named]:
    return {
        name.replace("_", "-"): Named(module=module, function=function, needs=needs)
        for name, function in functions.items()
    }


METHODS = {
    "frostline": Named(module="ours", function="making", needs="ray"),
    "frostline-whole": Named(module="ours", function="whole", needs="ray"),
    "pausing": Named(module="freeze_thaw", function="making", needs="ray"),
    "promotion": Named(module="pausing", function="making", needs="ray"),
    "gaussian": Named(module="gaussian", function="making", needs="scipy"),
    **_all(
        "simple",
        "optuna",
        random="random_search",
        random_unconfirmed="random_unconfirmed",
        one_epoch_top3="one_epoch_top3",
    ),
    **_all(
        "peers.optuna_study",
        "optuna",
        optuna_tpe="tpe",
        optuna_tpe_halving="tpe_halving",
        optuna_tpe_halving_2="tpe_halving_2",
        optuna_tpe_hyperband="tpe_hyperband",
        optuna_tpe_median="tpe_median",
        optuna_gp="gp",
    ),
    **_all(
        "peers.ray_asha",
        "ray",
        ray_asha="random_asha",
        ray_asha_2="random_asha_2",
        ray_asha_tpe="tpe_asha",
        ray_asha_tpe_2="tpe_asha_2",
    ),
    **_all(
        "peers.syne",
        "syne_tune",
        syne_asha="asha",
        syne_hyperband="hyperband",
        syne_bohb="bohb",
        syne_asha_cqr="asha_cqr",
        syne_cqr="cqr",
    ),
    **_all("peers.budgets", "dehb", dehb="dehb"),
    **_all("peers.budgets", "smac", smac="smac", smac_whole="smac_whole"),
}
"""Name -> method. Names are those of the command and of the tables."""
