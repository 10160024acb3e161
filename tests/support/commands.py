"""Call the command line, in this process or in its own."""

import sys

from click.testing import Result
from typer.testing import CliRunner

from lnclip_df import cli


def call(*arguments) -> Result:
    """Call ``lnclip-df`` with the arguments; the result has ``exit_code``, ``stdout`` and ``stderr``."""
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def error_of(result: Result) -> str:
    """The one line on stderr of a command that failed with an error that the user can fix."""
    assert result.exit_code == 1, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def own_process(*arguments, before: str = "") -> list[str]:
    """The command of a process that runs the statements ``before``, and ``lnclip-df`` with the arguments.

    It heeds SIGHUP, also where nohup runs the tests.
    """
    heeded = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    code = f"import os, signal, sys\n{heeded}\n{before}\nfrom lnclip_df.cli import main\nmain()"
    return [sys.executable, "-c", code, *map(str, arguments)]
