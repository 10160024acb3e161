"""What commands print: text that no name in it can turn into a command of the terminal."""

import typer

from lnclip_df.core.errors import LNCLIPError, printable


def say(value: object, *, newline: bool = True):
    """Print text on standard output, its control characters escaped.

    Raises:
        LNCLIPError: standard output cannot be written. A closed pipe stays a ``BrokenPipeError``.
    """
    try:
        typer.echo("\n".join(map(printable, str(value).split("\n"))), nl=newline)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LNCLIPError(f"standard output: {error.strerror or error}") from error
