"""The one error that users see: what is wrong, the value, and the mend, in one line."""


class LNCLIPError(Exception):
    """A fault that the user can mend: a wrong key, a missing file, an unfit checkpoint.

    The message is one line that names the file or key, the value received and what to do; the command line prints
    it without a traceback and exits with status 1. Names from data may hold line breaks and terminal escapes: they are
    shown escaped.
    """

    def __str__(self):
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in super().__str__())
