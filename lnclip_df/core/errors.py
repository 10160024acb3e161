"""The one error that users see: what is wrong, the value, and the fix, in one line."""


def printable(text: str) -> str:
    """Text in one line that a terminal can show: line breaks, escapes and broken characters are written out.

    >>> print(printable("a" + chr(27) + "[2J" + chr(10)))
    a\\x1b[2J\\n
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(error: Exception) -> str:
    """Somebody else's exception in one line: its message, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def shown(value) -> str:
    """A value from a file as an error shows it: its ``repr``, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class LNCLIPError(Exception):
    """A fault that the user can fix: a wrong key, a missing file, an invalid checkpoint.

    The message is one line that names the file or key, the value received and what to do; the command line prints
    it without a traceback and exits with status 1. Names from data may hold line breaks and terminal escapes: they are
    shown escaped.
    """

    def __str__(self):
        return printable(super().__str__())
