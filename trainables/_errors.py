"""One line of an error's message, which may be long or empty."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the error's type if it has no message."""
    return _lines(error)[0]


def last_line(error: BaseException) -> str:
    """The last line of an error's message, or the error's type if it has no message."""
    return _lines(error)[-1]


def _lines(error: BaseException) -> list[str]:
    return (str(error).strip() or type(error).__name__).splitlines()
