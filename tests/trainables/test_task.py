"""What a slot is given and what it tells, on the way through JSON and Tune."""

import dataclasses
import json

import pytest
from ray._private.dict import flatten_dict

from frostline.spaces import Metric
from frostline.trainables._task import DiskFull, Message, ModelSetup, Setup, Told
from tests.told import NOTHING_YET, failed, said

MEASURED = said(0.5, 0.75, 1_800_000_000.25, spent={"training": 9.5}, device="cpu", micro_batch=8, partial=True)
DISK_FULL = DiskFull(number=28, text="No space left on device", path="/runs/a/last.safetensors", **NOTHING_YET)


@pytest.mark.parametrize(
    "told",
    [
        Told(messages=(MEASURED,)),
        Told(messages=(MEASURED,), node_id="0fab"),
        Told(messages=(failed("loss is nan at step 3"),)),
        Told(messages=(failed("out of memory", infeasible=True),)),
        Told(messages=(failed("KeyError: 'x'", traceback="Traceback\n  KeyError: 'x'"),)),
        Told(messages=(DISK_FULL,)),
        Told(messages=(MEASURED, said(1, 0.8, 0.0, final=True)), task=3, whole=True),
        Told(messages=(MEASURED, failed("loss is nan")), task=0, whole=True),
    ],
)
def test_what_a_slot_tells_is_the_same_after_json_and_tunes_own_keys(told: Told) -> None:
    result = json.loads(json.dumps(told.to_tune()))
    tunes_own = {"trial_id": "x", "done": False, "pid": 7, "time_total_s": 1.0, "training_iteration": 2}
    assert Told.of_tune({**tunes_own, **result}) == told
    assert Told.of_tune(flatten_dict({**tunes_own, **result})) == told, "as Tune's scheduler gets it"
    assert told.last == told.messages[-1]


@pytest.mark.parametrize("result", [{}, {"trial_id": "x", "done": True}])
def test_a_result_of_tunes_own_tells_nothing(result: dict[str, object]) -> None:
    assert Told.of_tune(result) is None


@pytest.mark.parametrize(
    ("change", "error"),
    [({"kind": "Amazed"}, KeyError), ({"colour": "blue"}, TypeError)],
)
def test_a_message_of_another_version_is_an_error(change: dict[str, str], error: type[Exception]) -> None:
    result = Told(messages=(MEASURED,)).to_tune()
    result["told"][0]["messages"][0].update(change)
    with pytest.raises(error, match=next(iter(change.values() if error is KeyError else change))):
        Told.of_tune(result)


def test_every_kind_of_message_says_where_the_training_stands() -> None:
    standing = {field.name for field in dataclasses.fields(Message)}
    for kind in Message.__subclasses__():
        assert standing <= {field.name for field in dataclasses.fields(kind)}


def test_a_setup_is_the_same_after_json() -> None:
    setup = Setup(
        models={"m": ModelSetup(entry="/data/e", weights="00ff", boundaries=(2, 4), first_only=(4,))},
        classes=("no", "yes"),
        run="runs/a",
        report_at=(0.5, 1.0),
        validate_on=(100, 200),
        metric=Metric(name="loss", better="lower"),
        device="cpu",
        threads=1,
        gpu_share=0.0,
        checkpoint_every=60.0,
    )
    again = Setup.of(json.loads(json.dumps(dataclasses.asdict(setup))))
    assert json.dumps(dataclasses.asdict(again)) == json.dumps(dataclasses.asdict(setup))
