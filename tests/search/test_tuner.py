import io
from pathlib import Path

from ray.tune.experiment import Trial
from rich.console import Console

from search import plan as planning
from search import results
from search.progress import Progress
from search.tuner import Recorder


def test_a_trial_that_dies_before_it_starts_is_recorded(tiny_model: Path, tiny_csv: Path, tmp_path: Path) -> None:
    options = planning.Options(
        space="bert_imdb", profile="small", model=str(tiny_model), dataset=str(tiny_csv), storage=tmp_path, name="run"
    )
    plan, _ = planning.resolve(options)
    planning.claim(plan)
    trial = Trial("trial", stub=True, config={"number": 3, "params": {"batch_size": 8}, "label": ""})
    recorder = Recorder(plan, Progress(plan, Console(file=io.StringIO())), [])
    recorder.on_trial_error(iteration=1, trials=[trial], trial=trial)
    recorder.close()
    (record,) = results.read(plan.run / "trials.jsonl")
    assert (record.number, record.state, record.reason) == (3, "FAIL", "its process died")
    assert (plan.run / "trials" / "00003" / "error.txt").read_text() == "its process died\n"
