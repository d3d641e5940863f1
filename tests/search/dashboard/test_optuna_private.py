"""Optuna writes its journal with the private names that the dashboard relies on."""

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.storages.journal import JournalFileBackend

from frostline.search.dashboard.optuna_private import JournalOperation

pytestmark = pytest.mark.filterwarnings("ignore:.*set_metric_names is experimental")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, object]]:
    """The last entry of each operation in the journal of a small study."""
    backend = JournalFileBackend(str(tmp_path_factory.mktemp("optuna") / "journal"))
    study = optuna.create_study(storage=optuna.storages.JournalStorage(backend))
    study.enqueue_trial({"frozen_layers": 3})
    study.add_trial(
        optuna.trial.create_trial(
            value=0.5, params={"frozen_layers": 2}, distributions={"frozen_layers": IntDistribution(0, 7)}
        )
    )
    study.ask().suggest_int("frozen_layers", 0, 7)
    study.set_metric_names(["accuracy"])
    return {log["op_code"]: log for log in backend.read_logs(0)}


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        (JournalOperation.CREATE_STUDY, {"worker_id"}),
        (JournalOperation.SET_STUDY_SYSTEM_ATTR, {"worker_id", "study_id", "system_attr"}),
        (JournalOperation.CREATE_TRIAL, {"params", "distributions"}),
        (JournalOperation.SET_TRIAL_PARAM, {"param_name"}),
    ],
)
def test_an_operation_has_the_fields_that_are_read_or_written(
    logs: dict[int, dict[str, object]], operation: JournalOperation, fields: set[str]
) -> None:
    assert fields <= logs[operation].keys()


def test_the_names_of_metrics_are_a_system_attribute(logs: dict[int, dict[str, object]]) -> None:
    assert logs[JournalOperation.SET_STUDY_SYSTEM_ATTR]["system_attr"] == {"study:metric_names": ["accuracy"]}
