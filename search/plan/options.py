"""The options of the command line, and how they change a space's profile. Imports the standard library only."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from frostline.spaces import MOST_EPOCHS, OWN_DATA, SEEDS, Budget, Data, Profile, Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of a search. None leaves a value to the space or to the machine."""

    space: str
    """A name, or a file, `.py` or `.yaml`."""
    space_path: str | None = None
    """A folder with more spaces."""
    set: tuple[str, ...] | None = None
    """Other values for parameters of the space, `NAME=VALUES` each."""
    metric: str | None = None
    """The validation metric that decides: a name, or a function as `FILE.py:FUNCTION`."""
    class_weights: str | None = None
    """`none` or `balanced`; None leaves it to the space."""
    profile: str = "auto"
    model: str | None = None
    dataset: str | None = None
    columns: tuple[str, str] | None = None
    validation: str | None = None
    """A file or folder with the validation rows of `dataset`."""
    test: str | None = None
    """A file or folder with the test rows of `dataset`."""
    group: str | None = None
    """A column; rows with one value in it are in one slice."""
    train_rows: int | None = None
    """Training examples at most; None takes the profile's number, and of `dataset` all that there are."""
    trials: str | int | None = None
    """A number, or `+N` more than a resumed search has."""
    time_budget: str | None = None
    """A duration such as `90m`, or `+30m` more than a resumed search has."""
    epochs: float | None = None
    confirm_recipes: int | None = None
    confirm_seeds: int | None = None
    prefer: str | None = None
    """The one of the tied recipes that is offered: `cheapest`, also if None, or `best`."""
    retries: int | None = None
    checkpoint_every: float | None = None
    prefix_cache: str | None = None
    """`float32`, `float16` or `off`; None or `auto` leaves it to the device."""
    cache_size: str | None = None
    """Bytes that the prefix cache may take, such as `20GB`."""
    concurrent: int | None = None
    workers_per_trial: int | None = None
    cpus_per_trial: float | None = None
    """CPU cores of each worker."""
    gpus_per_trial: float | None = None
    price_per_hour: float | None = None
    """What an hour costs: of a GPU where trials have GPUs, else of all machines together."""
    seed: int | None = None
    storage: Path = Path("runs")
    url: str = ""
    """URL of the storage of new run directories, or of the run directory that goes on; empty if it is a folder."""
    name: str | None = None
    address: str | None = None
    wandb: str | None = None
    """`online`, `offline` or `off`; None leaves it to what is configured."""
    wandb_artifact: bool = False
    """Whether the winner's model is uploaded to W&B."""
    retrain: Recipe | None = None
    """Instead of a space: the one recipe to train."""


_READ = ("max_length", "truncation_side", "image_size")
"""Fields of `Data` that say how much of a text, or how large a picture, the model reads."""
OPTION_NAMES = frozenset(field.name for field in dataclasses.fields(Options))
"""Names of the options in Python."""

SPLITS_BESIDE = ("validation", "test")
"""Options that give a split in a file beside the data set."""

_MOST: dict[str, float] = {
    **dict.fromkeys(("trials", "retries", "concurrent", "cpus_per_trial", "gpus_per_trial"), 1_000_000),
    "train_rows": 1e12,
    "epochs": MOST_EPOCHS,
    "workers_per_trial": 10_000,
    **dict.fromkeys(("confirm_recipes", "confirm_seeds"), 1_000),
    "checkpoint_every": 1e9,
    "price_per_hour": 1e6,
    "seed": SEEDS - 1,
}
"""The largest value of each number. A larger one is a slip, and some would fill the memory of the driver."""


def check_ranges(values: Mapping[str, Any]) -> None:
    """Refuse numbers beyond `_MOST`, NaN, and a negative seed. What is too small is refused where it is used.

    Args:
        values: option by name; options that are not given are missing or None.

    Raises:
        ValueError: names the option.
    """
    for name, most in _MOST.items():
        value = values.get(name)
        if not isinstance(value, int | float):
            continue
        option = typed_as(name)
        if not value <= most:
            raise ValueError(f"{option} is at most {most:,.0f}, got {value}")
        if name == "seed" and value < 0:
            raise ValueError(f"{option} is 0 to {most:,.0f}, got {value}")


def typed_as(name: str) -> str:
    """The name of an option on the command line: `--confirm` for `confirm_recipes`."""
    return "--confirm" if name == "confirm_recipes" else f"--{name.replace('_', '-')}"


def metric_file(name: str) -> tuple[Path, str] | None:
    """File and function of a metric that is `FILE.py:FUNCTION`; None for the name of a metric."""
    parts = re.fullmatch(r"(?P<file>.+\.py)(?::(?P<function>.*))?", name)
    return (Path(parts["file"]).expanduser(), parts["function"] or "") if parts else None


def path_or_url(text: str) -> Path | str:
    """A folder as a path, anything else as a URL; `file://` is a folder of this machine.

    Raises:
        ValueError: it is empty, a `file://` of another machine, or a URL with one slash.
    """
    if not text:
        raise ValueError("a folder or a URL is missing: the text is empty")
    if text.startswith("file://"):
        host, _, path = text.removeprefix("file://").partition("/")
        if host not in {"", "localhost"} or not path:
            raise ValueError(f"a folder of this machine is file:///FOLDER, got {text}")
        return Path("/" + unquote(path))
    if re.match("[a-z][a-z0-9+.-]*:/(?!/)", text):
        raise ValueError(f"a URL has :// after its protocol, got {text}")
    protocol, separator, rest = text.partition("://")
    if separator:
        return f"{protocol}://{rest.rstrip('/')}"
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no home directory for {text}") from None
    return Path(text)


def adjusted(profile: Profile, options: Options) -> Profile:
    """The profile after the options have replaced parts of it.

    Raises:
        ValueError: trials or epochs below 1, or a text that is no duration.
    """
    for option, name in (("--dataset", options.dataset), ("--model", options.model)):
        if name is not None and not name.strip():
            raise ValueError(f"{option} is empty; it names a folder, a file or something of the hub")
    changes: dict[str, Any] = {}
    if options.dataset is not None:
        # What a profile says of its data does not hold for others. A recipe that is trained again keeps how it reads.
        kept = {} if options.retrain is None else {name: getattr(profile.data, name) for name in _READ}
        changes |= {**OWN_DATA, **kept, "source": place_of(options.dataset), **_beside(options.dataset, options)}
    if options.train_rows is not None:
        changes["train"] = options.train_rows
    if options.columns is not None:
        changes["text"], changes["label"] = options.columns
    if options.group is not None:
        changes["group"] = options.group
    model = place_of(profile.model if options.model is None else options.model)
    models = tuple(place_of(name) for name in profile.models)
    if models and options.model is not None:
        models = (model,)
    data: Data = dataclasses.replace(profile.data, **changes)
    return Profile(model=model, data=data, budget=changed(profile.budget, options), models=models)


def _beside(dataset: str, options: Options) -> dict[str, str]:
    """The fields of `Data` for files beside the data set.

    Raises:
        ValueError: the data set, or what is given beside it, is neither a file nor a folder.
    """
    fields = {}
    for split in SPLITS_BESIDE:
        given = getattr(options, split)
        if given is None:
            continue
        if not Path(dataset).exists():
            raise ValueError(f"--{split} stands beside a file or a folder, and --dataset {dataset} is neither of them")
        if not Path(given).exists():
            raise ValueError(f"--{split} {given}: there is no such file or folder")
        fields[f"{split}_source"] = place_of(given)
    return fields


def place_of(name: str) -> str:
    """The absolute path of a model or data, since trials run in another folder; any other name unchanged."""
    if Path(name).exists():
        return str(Path(name).resolve())
    folder, _, config = name.rpartition(":")  # a folder and one of its configurations
    return f"{Path(folder).resolve()}:{config}" if folder and Path(folder).is_dir() else name


def changed(budget: Budget, options: Options, resumed: bool = False) -> Budget:
    """The budget after the options have replaced parts of it.

    Args:
        budget: budget of the profile, or of the search that goes on.
        options: what was asked for.
        resumed: whether the search goes on, so that `+N` adds to its budget.

    Raises:
        ValueError: a number below 1, a text that is no duration, `+N` with nothing to add to.
    """
    changes: dict[str, Any] = {}
    if options.trials is not None:
        changes["trials"] = _more("--trials", str(options.trials), budget.trials, resumed, _count)
    if options.time_budget is not None:
        changes["seconds"] = _more("--time-budget", options.time_budget, budget.seconds, resumed, seconds)
        if options.trials is None and not resumed:
            changes["trials"] = None  # the time alone decides
    if options.epochs is not None:
        if not options.epochs > 0:
            raise ValueError(f"--epochs must be above 0, got {options.epochs:g}")
        changes |= {"epochs": options.epochs, "first_rung": min(budget.first_rung, float(options.epochs))}
    for name in ("confirm_recipes", "confirm_seeds"):
        if (count := getattr(options, name)) is not None:
            if count < 0:
                raise ValueError(f"{typed_as(name)} must not be negative, got {count}")
            changes[name] = count
    return dataclasses.replace(budget, **changes)


def _more(option: str, text: str, old: float | None, resumed: bool, read: Callable[[str], float]) -> float:
    if not text.startswith("+"):
        return read(text)
    if not resumed:
        raise ValueError(f"{option} {text} needs --resume: it adds to a search")
    if old is None:
        limit = "limit of trials" if option == "--trials" else "time limit"
        raise ValueError(f"{option} {text}: the search has no {limit} yet; give the whole limit")
    more = read(text[1:])
    if more < 0:
        raise ValueError(f"{option} {text} would take away what the search has")
    return old + more


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        raise ValueError(f"--trials is a number, or +N with --resume, got {text!r}") from None
    check_ranges({"trials": count})
    return count


def seconds(text: str) -> float:
    """`1h30m`, `90m`, `45s` -> seconds.

    Raises:
        ValueError: anything else; a number needs its unit.
    """
    parts = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?", text.strip())
    try:
        if not parts or not any(parts.groups()):
            raise ValueError
        hours, minutes, rest = (float(part or 0) for part in parts.groups())
    except ValueError:
        raise ValueError(f"--time-budget must be a time such as 90m, 2h, 1h30m or 45s, got {text!r}") from None
    if not (total := 3600 * hours + 60 * minutes + rest) < _LONGEST_TIME:
        raise ValueError(f"--time-budget must be shorter than 30 years, got {text!r}")
    return total


_LONGEST_TIME = 1e9
"""Seconds."""
_LARGEST_SIZE = 1e18
"""Bytes."""


def size(text: str) -> float:
    """`20GB`, `500MB`, `0` -> bytes.

    Raises:
        ValueError: anything else.
    """
    parts = re.fullmatch(r"([\d.]+)\s*([kMGT]?)B?", text.strip())
    try:
        if not parts:
            raise ValueError
        total = float(parts[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[parts[2]]
    except ValueError:
        raise ValueError(f"--cache-size must be a size such as 20GB or 500MB, got {text!r}") from None
    if not total < _LARGEST_SIZE:
        raise ValueError(f"--cache-size must be below a million TB, got {text!r}")
    return total
