"""A search that is killed at random moments and goes on."""

from collections.abc import Sequence
from pathlib import Path

from tests.bench.promises import kills
from tests.integration.drivers import Driver


def test_killed_at_random_moments_nothing_is_lost(tmp_path: Path) -> None:
    """The short form of `python -m tests.bench.promises --only kills`."""

    def launch(arguments: Sequence[str], log: Path) -> Driver:
        return Driver(*arguments, out=log, err=log)

    run = kills.Chaos(tmp_path, seed=2, trials=7, epochs=5, launch=launch)
    outcome = run.run(["driver"])
    assert [(kind, problem) for kind, _, problem in outcome.kills] == [("driver", "")]
    kills.check(outcome)
    assert not list(outcome.run.glob("*/*/last.safetensors"))
