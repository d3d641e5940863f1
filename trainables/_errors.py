"""One line of an error's message, which may be long or empty."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, with the second one after a colon; its type if it has no message."""
    lines = _lines(error)
    return " ".join(line.strip() for line in lines[:2]) if lines[0].endswith(":") else lines[0]


def last_line(error: BaseException) -> str:
    """The last line of an error's message, or the error's type if it has no message."""
    return _lines(error)[-1]


def reason(error: BaseException) -> str:
    """One line of an error of another library. Its type comes first where the message alone says too little."""
    line, kind = first_line(error), type(error).__name__
    speaks = isinstance(error, (OSError, ValueError, RuntimeError)) and not isinstance(error, RecursionError)
    return line if speaks or line == kind else f"{kind}: {line}"


def _lines(error: BaseException) -> list[str]:
    return (str(error).strip() or type(error).__name__).splitlines()
