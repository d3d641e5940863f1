"""Where standard output leads while a search runs: nowhere, to a full disk, to a reader who has gone."""

import subprocess
import sys

import pytest

from frostline.search import output

SCRIPT = """
import os, sys
from frostline.search.output import guarded
with guarded() as output:
    for number in range(2000):
        if number == 1000 and "promise" in sys.argv:
            output.promise("the search goes on")
        print("a line of text", flush=number % 100 == 0)
    print("to stderr", file=sys.stderr)
    if "check" in sys.argv:
        output.check()
with open("/dev/null", "rb") as file:
    assert file.fileno() > 2
"""


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ("{} | wc -l", 0, "to stderr\n"),
        ("{} check | head -1", 0, "to stderr\n"),
        ("{} promise check | head -1", 0, "frostline: stdout: Broken pipe; the search goes on\nto stderr\n"),
        ("{} promise > /dev/full", 0, "frostline: stdout: No space left on device; the search goes on\nto stderr\n"),
        ("{} check > /dev/full 2>&1", 1, ""),
        ("{} check >&-", 0, "to stderr\n"),
        ("{} promise >&-", 0, "frostline: stdout: it is closed; the search goes on\nto stderr\n"),
        ("{} promise check <&- >&- 2>&-", 0, ""),
        ("{} promise > /dev/full 2> /dev/full", 0, ""),
    ],
)
def test_what_cannot_be_printed_ends_nothing(shell: str, code: int, said: str) -> None:
    line = "set -o pipefail; " + shell.format(f"{sys.executable} -c '{SCRIPT}'")
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)


def test_the_streams_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with output.guarded() as guarded:
        assert (sys.stdout is guarded, guarded.error) == (True, None)
        print("a line")
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "a line\n"
