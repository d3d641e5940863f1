"""Data as people have them: the rows that are read, or the words of the refusal. The cases stand in `of_*.py`."""

import re
from pathlib import Path

import pytest

from frostline.spaces import Data
from frostline.trainables.data.tables import read_rows
from tests.trainables.data.formats.makers import Case
from tests.trainables.data.formats.of_columns import COLUMNS
from tests.trainables.data.formats.of_encodings import ENCODINGS
from tests.trainables.data.formats.of_folders import FOLDERS
from tests.trainables.data.formats.of_formats import FORMATS
from tests.trainables.data.formats.of_quotes import QUOTES
from tests.trainables.data.formats.of_values import NO_LABEL, STRINGS

CASES = [*FORMATS, *STRINGS, *NO_LABEL, *ENCODINGS, *QUOTES, *COLUMNS, *FOLDERS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_data_as_people_have_them(case: Case, tmp_path: Path) -> None:
    source = f"{case.make(tmp_path)}{':' * bool(case.config)}{case.config}"
    text, label = case.columns.split(",")
    data = Data(source=source, text=text, label=label, group=case.group)
    if case.refused:
        with pytest.raises(ValueError, match=case.refused) as caught:
            read_rows(data)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500
        return
    splits = read_rows(data)
    expected = case.rows if isinstance(case.rows, dict) else {"train": case.rows}
    assert {split: list(zip(rows.inputs, rows.labels, strict=True)) for split, rows in splits.items()} == {
        split: list(rows) for split, rows in expected.items()
    }
    notes = "\n".join(splits["train"].notes)
    assert re.search(case.notes, notes) if case.notes else not notes
    assert len(splits["train"].skipped) == case.skipped
