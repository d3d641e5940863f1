"""Quotes: never closed, escaped, doubled."""

from collections.abc import Sequence

from tests.trainables.data.formats.makers import (
    ROWS,
    Case,
    Row,
    csv_of,
)


def with_quotes(rows: Sequence[Row], *numbers: int) -> bytes:
    """A table in which a quote that is never closed stands before these texts."""
    lines = csv_of(rows).splitlines()
    for number in numbers:
        lines[number + 1] = b'"' + lines[number + 1]
    return b"\n".join(lines) + b"\n"


def quoted(rows: Sequence[Row], *numbers: int) -> list[Row]:
    """The rows of such a table."""
    return [(f'"{text}' if number in numbers else text, label) for number, (text, label) in enumerate(rows)]


PLAIN: list[Row] = [(f"text {number}", "pos" if number % 2 else "neg") for number in range(200)]
MANY: list[Row] = [(f"text {number}", "pos" if number % 2 else "neg") for number in range(20_000)]
SWALLOWING = [(50, 150), (50, 51), (0, 199), (10,), (199,), (0, 1, 2), (5, 10, 100, 150)]

QUOTES = [
    *(
        Case(
            name=f"quotes never closed in the rows {', '.join(map(str, numbers))}",
            files={"a.csv": with_quotes(PLAIN, *numbers)},
            rows=quoted(PLAIN, *numbers),
            notes=f"a.csv: the quote in line {numbers[0] + 2} is never closed" if numbers != (199,) else "",
        )
        for numbers in SWALLOWING
    ),
    Case(
        name="quotes 2,000 rows apart in 20,000",
        files={"a.csv": with_quotes(MANY, 1000, 3000)},
        rows=quoted(MANY, 1000, 3000),
        notes=r"line 1002 is never closed; it is read as a letter \(2 lines\)",
    ),
    Case(
        name="the same in a folder",
        files={"train.csv": with_quotes(MANY, 1000, 3000)},
        rows=quoted(MANY, 1000, 3000),
        notes="line 1002",
        folder=True,
    ),
    Case(
        name="one quote that swallows the rest of 20,000 rows",
        files={"a.csv": with_quotes(MANY, 1000)},
        rows=quoted(MANY, 1000),
        notes="line 1002",
    ),
    Case(
        name="a quote that is never closed before rows in quotes",
        files={"a.csv": with_quotes([("a", "neg"), ("b", "pos")], 0) + csv_of(ROWS).split(b"\n", 1)[1]},
        rows=[('"a', "neg"), ("b", "pos"), *ROWS],
        notes="line 2",
    ),
    Case(
        name="labels before the texts",
        files={
            "a.csv": b"label,text\n"
            + b"".join(
                b"%s,%s\n" % (b"pos" if n % 2 else b"neg", b'"open' if n in {5, 20} else b"text") for n in range(30)
            )
        },
        rows=[('"open' if n in {5, 20} else "text", "pos" if n % 2 else "neg") for n in range(30)],
        notes="line 7",
    ),
    Case(
        name="a text that holds whole rows",
        files={"a.csv": b'text,label\nx,neg\ny,pos\n"See the table:\ngood,pos\nbad,neg\nend",neg\n'},
        rows=[("x", "neg"), ("y", "pos"), ("See the table:\ngood,pos\nbad,neg\nend", "neg")],
        notes="the text in line 4 contains whole rows",
    ),
    Case(
        name="a text of two lines, never closed, and one whole row in it",
        files={"a.csv": b'id,text,label\n0,x,pos\n1,y,neg\n2,"a\nb,pos\n3,c,neg\n4,"d",pos\n'},
        rows=[("x", "pos"), ("y", "neg"), ('a\nb,pos\n3,c,neg\n4,d"', "pos")],
        notes="the text in line 4 contains whole rows",
    ),
    Case(
        name="texts of several lines",
        files={"a.csv": csv_of([("one,\ntwo, three\n\nfour", "neg"), ("a\nb", "pos")] * 20)},
        rows=[("one,\ntwo, three\n\nfour", "neg"), ("a\nb", "pos")] * 20,
    ),
    Case(
        name=r"\" as Spark and MySQL write it",
        files={"a.csv": b'text,label\n"he said \\"hi, you\\" to me",pos\n"a\\\\",neg\n"C:\\new\\dir",neg\nx,pos\n'},
        rows=[('he said "hi, you" to me', "pos"), ("a\\", "neg"), ("C:\\new\\dir", "neg"), ("x", "pos")],
        notes=r'\\" is read as a quote',
    ),
    Case(
        name="texts that end in a backslash",
        files={"a.csv": b'text,label\n"C:\\",pos\n"C:\\new, ""x""",neg\n'},
        rows=[("C:\\", "pos"), ('C:\\new, "x"', "neg")],
    ),
    Case(
        name="doubled quotes",
        files={"a.csv": csv_of([('he said "hi", "ho"', "x"), ('"', "y"), ('""', "x")])},
        rows=[('he said "hi", "ho"', "x"), ('"', "y"), ('""', "x")],
    ),
    Case(
        name="quotes in quotes, not doubled",
        files={"a.csv": b'text,label\n"he said "hi" to me",pos\n"Hello" he said,neg\nsize 5" x,pos\n'},
        rows=[('he said "hi" to me', "pos"), ('"Hello" he said', "neg"), ('size 5" x', "pos")],
    ),
    Case(
        name="a quote never closed in a TSV",
        files={"a.tsv": b'text\tlabel\n"a\tx\nb\ty\nc\tx\n"d\ty\ne\tx\n'},
        rows=[('"a', "x"), ("b", "y"), ("c", "x"), ('"d', "y"), ("e", "x")],
        notes="line 2",
    ),
]
